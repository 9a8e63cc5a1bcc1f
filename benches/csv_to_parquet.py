"""CSV to Parquet (snappy) through `ferry sync`, against pyarrow on the same file, in turn.

Usage: python benches/csv_to_parquet.py ORDERS.csv [ROUNDS]
Needs: a release build of ferry, source-file and destination-local; pyarrow.
Prints, per round, wall and CPU seconds of both and the peak memory of each process;
then the median ratio. Row counts of both results are compared in every round.
"""

import glob
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"
PYARROW = """
import sys, pyarrow.csv as c, pyarrow.parquet as p
t = c.read_csv(sys.argv[1], parse_options=c.ParseOptions(newlines_in_values=True))
p.write_table(t, sys.argv[2], compression="snappy")
"""


def peaks_of_children(pid, peaks, done):
    """Follows the high-water mark of every process below `pid`."""
    while not done.is_set():
        for path in glob.glob("/proc/[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in open(path) if ":" in line)
            except (OSError, ValueError):
                continue
            if int(fields["PPid"]) == pid or int(fields["Pid"]) == pid:
                name = fields["Name"].strip()
                kib = int(fields.get("VmHWM", "0 kB").split()[0])
                peaks[name] = max(peaks.get(name, 0), kib)
        done.wait(0.2)


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peaks, done = {}, threading.Event()
    follower = threading.Thread(target=peaks_of_children, args=(process.pid, peaks, done))
    follower.start()
    out, err = process.communicate(timeout=600)
    wall = time.monotonic() - start
    done.set()
    follower.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{out.decode()}\n{err.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, {name: f"{kib / 1024:.0f} MiB" for name, kib in sorted(peaks.items())}


def rows_of(pattern):
    import pyarrow.parquet as parquet

    return sum(parquet.ParquetFile(path).metadata.num_rows for path in glob.glob(pattern, recursive=True))


def main():
    csv = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    ratios = []
    with tempfile.TemporaryDirectory(dir=csv.parent) as work:
        work = pathlib.Path(work)
        sync = {
            "source": {
                "connector": str(BIN / "source-file"),
                "config": {"dataset_name": "orders", "format": "csv", "url": str(csv), "provider": {"storage": "local"}},
            },
            "destination": {"connector": str(BIN / "destination-local"), "config": {"destination_path": str(work / "out")}},
        }
        (work / "sync.yaml").write_text(json.dumps(sync))
        for number in range(1, rounds + 1):
            shutil.rmtree(work / "out", ignore_errors=True)
            ours = timed([str(BIN / "ferry"), "sync", str(work / "sync.yaml"), "--output", "json"])
            theirs = timed([sys.executable, "-c", PYARROW, str(csv), str(work / "pyarrow.parquet")])
            counts = rows_of(f"{work}/out/**/*.parquet"), rows_of(str(work / "pyarrow.parquet"))
            if counts[0] != counts[1]:
                sys.exit(f"rows differ: ferry {counts[0]}, pyarrow {counts[1]}")
            ratios.append(ours[0] / theirs[0])
            for name, (wall, cpu, peaks) in (("ferry", ours), ("pyarrow", theirs)):
                print(f"round {number} {name:8} wall {wall:5.2f} s  cpu {cpu:5.2f} s  {peaks}")
            os.sync()
    print(f"{counts[0]} rows; wall ferry / pyarrow: median {statistics.median(ratios):.2f}, all {[round(r, 2) for r in ratios]}")


if __name__ == "__main__":
    main()
