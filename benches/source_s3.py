"""source-s3 from a store on this machine to JSON lines: Parquet, and CSV beside a plain scan by the csv crate.

Usage: python benches/source_s3.py ORDERS.csv [ROUNDS]
Needs: release builds of source-s3 and of the example csv_scan (`cargo build --release -p source-s3 -p benches --example
csv_scan`), nginx, pyarrow.
Prints per round wall and CPU seconds and the peak memory; then rows per second, and how CSV compares with the scan.
"""

import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = TARGET / "release"
KEYS = ("AKIDBENCH", "bench-secret")


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with open(os.devnull, "w") as nothing:
        process = subprocess.Popen(command, stdout=nothing, stderr=subprocess.PIPE)
        peak = 0
        while process.poll() is None:
            try:
                status = open(f"/proc/{process.pid}/status").read()
                peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):
                pass
            time.sleep(0.01)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed: {process.stderr.read().decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak / 1024


NGINX = """daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
  uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  server {{
    listen 127.0.0.1:{port};
    root {at}/root;
    sendfile on;
    location ~ ^/lake/?$ {{ default_type application/xml; try_files /list.xml =404; }}
  }}
}}
"""


def start_store(work):
    """nginx as a store: it knows ranges and versions, and gives one listing. What checks signatures and sums
    would be measured rather than what reads."""
    objects = ""
    for path in sorted((work / "root" / "lake").iterdir()):
        stat = path.stat()
        when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stat.st_mtime))
        etag = f"&quot;{int(stat.st_mtime):x}-{stat.st_size:x}&quot;"
        objects += f"<Contents><Key>{path.name}</Key><LastModified>{when}</LastModified><ETag>{etag}</ETag><Size>{stat.st_size}</Size></Contents>"
    listing = f'<?xml version="1.0"?><ListBucketResult><Name>lake</Name><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>'
    (work / "root" / "list.xml").write_text(listing)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (work / "nginx.conf").write_text(NGINX.format(at=work, port=port))
    store = subprocess.Popen(["nginx", "-c", str(work / "nginx.conf")], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    return store, f"http://127.0.0.1:{port}"


def prepare(work, endpoint, name, file_format):
    """The command that reads all files of one format, its catalog discovered first."""
    config = {
        "bucket": "lake",
        "endpoint": endpoint,
        "credentials": {"auth_type": "iam_user", "aws_access_key_id": KEYS[0], "aws_secret_access_key": KEYS[1]},
        "streams": [{"name": "orders", "globs": [f"**/*.{name}"], "format": file_format}],
    }
    (work / f"{name}.json").write_text(json.dumps(config))
    binary = str(BIN / "source-s3")
    out = subprocess.run([binary, "discover", "--config", work / f"{name}.json"], capture_output=True, check=True)
    catalog = next(m for m in map(json.loads, out.stdout.splitlines()) if m["type"] == "CATALOG")
    streams = [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}
        for stream in catalog["catalog"]["streams"]
    ]
    (work / f"{name}.catalog.json").write_text(json.dumps({"streams": streams}))
    return [binary, "read", "--config", str(work / f"{name}.json"), "--catalog", str(work / f"{name}.catalog.json")]


def main():
    csv = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    import pyarrow.csv
    import pyarrow.parquet

    with tempfile.TemporaryDirectory(dir=csv.parent) as folder:
        work = pathlib.Path(folder)
        lake = work / "root" / "lake"
        lake.mkdir(parents=True)
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(csv, parse_options=options)
        rows = table.num_rows
        pyarrow.parquet.write_table(table, lake / "orders.parquet", compression="snappy", row_group_size=131_072)
        del table
        shutil.copy(csv, lake / "orders.csv")
        store, endpoint = start_store(work)
        try:
            parquet = prepare(work, endpoint, "parquet", {"filetype": "parquet"})
            text = prepare(work, endpoint, "csv", {"filetype": "csv"})
            scan = [str(BIN / "examples/csv_scan"), str(csv)]
            results = {"parquet": [], "csv": [], "scan": []}
            for number in range(1, rounds + 1):
                for name, command in [("parquet", parquet), ("csv", text), ("scan", scan)]:
                    wall, cpu, peak = timed(command)
                    results[name].append((wall, cpu))
                    print(f"round {number} {name:8} wall {wall:6.2f} s  cpu {cpu:6.2f} s  peak {peak:5.0f} MiB", flush=True)
        finally:
            store.kill()
            store.wait()
        for name in ["parquet", "csv"]:
            wall, cpu = (statistics.median(r[i] for r in results[name]) for i in (0, 1))
            print(f"{name}: {rows / wall:,.0f} rows per second of wall, {rows / cpu:,.0f} of CPU")
        for i, unit in enumerate(["wall", "CPU"]):
            ratio = statistics.median(a[i] / b[i] for a, b in zip(results["csv"], results["scan"]))
            print(f"csv against the scan, {unit}: {ratio:.2f} ×")


main()
