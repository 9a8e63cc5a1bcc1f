"""source-s3 beside Airbyte's own Python source for S3, both reading the same Parquet object to JSON lines.

Usage: python benches/source_s3_airbyte.py ORDERS.csv ROWS OTHER BIN S3S_FS
Needs: OTHER, the program source-s3 of the package airbyte-source-s3, in an environment of its own; a release build of
source-s3 in BIN; the store that `cargo xtask servers` builds (S3S_FS); pyarrow.
Prints wall, CPU and peak memory of each in turn, by GNU time, and the rows that came.
"""

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pyarrow.csv
import pyarrow.parquet

CSV, ROWS, OTHER, BIN, STORE = sys.argv[1], int(sys.argv[2]), *map(pathlib.Path, sys.argv[3:6])
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}


def read(name, program, folder):
    command = [program.resolve(), "read", "--config", folder / f"{name}.json", "--catalog", folder / "catalog.json"]
    with open(folder / "out", "wb") as out:
        done = subprocess.run(["/usr/bin/time", "-f", "%e %U %S %M", *map(str, command)], stdout=out,
                              stderr=subprocess.PIPE, text=True, timeout=600)
    rows = sum(1 for line in open(folder / "out", "rb") if line.startswith(b'{"type":"RECORD"'))
    if done.returncode != 0 or rows != ROWS:
        sys.exit(f"{name}: {rows} rows of {ROWS}, exit {done.returncode}")
    wall, user, system, peak = map(float, done.stderr.strip().splitlines()[-1].split())
    print(f"{name:8} wall {wall:6.2f} s  cpu {user + system:6.2f} s  peak {peak / 1024:5.0f} MiB  {rows} rows", flush=True)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bucket = folder / "store" / "lake"
        bucket.mkdir(parents=True)
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(CSV, parse_options=options).slice(0, ROWS)
        pyarrow.parquet.write_table(table, bucket / "orders.parquet", compression="snappy")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        store = subprocess.Popen([STORE, "--host", "127.0.0.1", "--port", str(port), "--access-key", "key",
                                  "--secret-key", "secret", bucket.parent], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            config = {"bucket": "lake", "endpoint": f"http://127.0.0.1:{port}",
                      "streams": [{"name": "orders", "globs": ["**/*.parquet"], "format": {"filetype": "parquet"}}]}
            ours = {**config, "credentials": {"auth_type": "iam_user", **KEYS}}
            (folder / "ours.json").write_text(json.dumps(ours))
            (folder / "airbyte.json").write_text(json.dumps({**config, **KEYS, "region_name": "us-east-1"}))
            out = subprocess.run([BIN / "source-s3", "discover", "--config", folder / "ours.json"], capture_output=True, check=True)
            stream = next(json.loads(line) for line in out.stdout.splitlines() if b'"CATALOG"' in line)["catalog"]["streams"][0]
            (folder / "catalog.json").write_text(json.dumps({"streams": [
                {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}))
            for _ in range(3):
                read("ours", BIN / "source-s3", folder)
                read("airbyte", OTHER, folder)
        finally:
            store.kill()
            store.wait()


main()
