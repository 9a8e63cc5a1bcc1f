"""Start-up of each connector: wall time and peak memory of `spec`, and binary sizes.

Usage: python benches/start_up.py [RUNS]      (after a release build; needs Debian's package time)
"""

import pathlib
import statistics
import subprocess
import sys
import time

BIN = pathlib.Path(__file__).resolve().parent.parent / "target" / "release"
NAMES = ("source-faker", "source-file", "source-postgres", "destination-local")


def spec(path):
    start = time.perf_counter()
    subprocess.run([path, "spec"], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def peak(path):
    """MiB. Measured through GNU time: our own child would be charged with this interpreter's memory."""
    out = subprocess.run(["/usr/bin/time", "-f", "%M", path, "spec"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return int(out.stderr) / 1024


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    empty = statistics.median(spec_of_true() for _ in range(runs))
    print(f"an empty process (`true`): median {empty:.1f} ms")
    for name in NAMES:
        path = BIN / name
        walls = [spec(str(path)) for _ in range(runs)]
        p99 = sorted(walls)[int(runs * 0.99) - 1]
        size = path.stat().st_size / 1e6
        print(f"{name}: spec median {statistics.median(walls):.1f} ms, p99 {p99:.1f} ms, peak {peak(str(path)):.1f} MiB; binary {size:.1f} MB")


def spec_of_true():
    start = time.perf_counter()
    subprocess.run(["true"], check=True)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
