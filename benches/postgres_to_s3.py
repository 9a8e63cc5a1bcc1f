"""PostgreSQL to Parquet (snappy) in a bucket and in local files through `ferry sync`, and the destination by itself.

Usage: python benches/postgres_to_s3.py PORT [ROUNDS] [BIN] [S3S_FS]
Needs: release builds of ferry, source-postgres, destination-local and destination-s3 in BIN; the store that
`cargo xtask servers` builds (S3S_FS: target/servers/s3s-fs/bin/s3s-fs); a server on 127.0.0.1:PORT that lets user
postgres in without a password, with a table `orders`. With adbc_driver_postgresql and pyarrow installed, they write
the same table to a local file in the same round.

Prints wall and CPU seconds and peak memory of each, in turn. Row counts of all results are compared.
"""

import atexit
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT = int(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
BIN = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else ROOT / "target" / "release"
STORE = sys.argv[4] if len(sys.argv) > 4 else ROOT / "target" / "servers" / "s3s-fs" / "bin" / "s3s-fs"
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
SOURCE = {"host": "127.0.0.1", "port": PORT, "database": "postgres", "username": "postgres", "password": "unused",
          "ssl_mode": {"mode": "disable"}}
ADBC = """
import sys, adbc_driver_postgresql.dbapi as d, pyarrow.parquet as p
with d.connect(sys.argv[1]) as c, c.cursor() as q:
    q.execute("SELECT * FROM orders")
    p.write_table(q.fetch_arrow_table(), sys.argv[2], compression="snappy")
"""


def timed(name, command, stdin=None, stdout=subprocess.DEVNULL, cwd=FOLDER):
    """Wall and CPU seconds and the largest peak of any one process, by GNU time."""
    feed = open(stdin, "rb") if stdin else subprocess.DEVNULL
    done = subprocess.run(["/usr/bin/time", "-f", "%e %U %S %M", *map(str, command)], stdin=feed, stdout=stdout,
                          stderr=subprocess.PIPE, text=True, cwd=cwd)
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    wall, user, system, peak = done.stderr.strip().splitlines()[-1].split()
    wall, cpu, peak = float(wall), float(user) + float(system), int(peak) / 1024
    print(f"  {name:34} wall {wall:6.2f} s  cpu {cpu:5.2f} s  peak {peak:6.1f} MiB", flush=True)
    return wall, cpu


def rows(folder):
    return sum(pq.ParquetFile(f).metadata.num_rows for f in pathlib.Path(folder).rglob("*.parquet"))


def main():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bucket = FOLDER / "store" / "lake"
    bucket.mkdir(parents=True)
    store = subprocess.Popen([STORE, "--host", "127.0.0.1", "--port", str(port), "--access-key", "key", "--secret-key",
                              "secret", bucket.parent], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(store.kill)
    time.sleep(1)
    s3 = {"s3_endpoint": f"http://127.0.0.1:{port}", "s3_bucket_name": "lake", "s3_bucket_path": "base", "s3_bucket_region": "us-east-1",
          "access_key_id": "key", "secret_access_key": "secret", "s3_path_format": "${STREAM_NAME}/",
          "format": {"format_type": "Parquet", "compression_codec": "SNAPPY", "block_size_mb": 16}}
    local = {"destination_path": str(FOLDER / "local"), "format": {"format_type": "parquet", "block_size_mb": 16}}
    (FOLDER / "source.json").write_text(json.dumps(SOURCE))
    out = subprocess.run([BIN / "source-postgres", "discover", "--config", FOLDER / "source.json"], capture_output=True, text=True, check=True)
    streams = next(json.loads(line)["catalog"]["streams"] for line in out.stdout.splitlines() if '"CATALOG"' in line)
    stream = next(s for s in streams if s["name"] == "orders")
    (FOLDER / "catalog.json").write_text(json.dumps({"streams": [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}]}))
    both = {"s3": ("destination-s3", s3, bucket), "local": ("destination-local", local, FOLDER / "local")}
    for name, (connector, config, _) in both.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(config))
        folder = FOLDER / f"sync-{name}"
        folder.mkdir()
        config = {**config, **({"s3_path_format": "$${STREAM_NAME}/"} if name == "s3" else {})}
        (folder / "sync.yaml").write_text(json.dumps({
            "source": {"connector": str(BIN / "source-postgres"), "config": SOURCE},
            "destination": {"connector": str(BIN / connector), "config": config},
            "streams": [{"name": "orders", "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}]}))
    records = FOLDER / "records.jsonl"
    with open(records, "wb") as file:
        subprocess.run([BIN / "source-postgres", "read", "--config", FOLDER / "source.json", "--catalog", FOLDER / "catalog.json"],
                       stdout=file, check=True)
    count = sum(1 for line in open(records, "rb") if line.startswith(b'{"type":"RECORD"'))
    print(f"{count} rows, {records.stat().st_size / 1e6:.0f} MB of records")
    try:
        for number in range(ROUNDS):
            print(f"round {number + 1}")
            if subprocess.run([sys.executable, "-c", "import adbc_driver_postgresql"], stderr=subprocess.DEVNULL).returncode == 0:
                timed("ADBC + pyarrow, local file", [sys.executable, "-c", ADBC, f"postgresql://postgres@127.0.0.1:{PORT}/postgres", FOLDER / "adbc.parquet"])
            for name, (connector, _, place) in both.items():
                timed(f"ferry sync, {name}", [BIN / "ferry", "sync", "sync.yaml"], cwd=FOLDER / f"sync-{name}")
                assert rows(place) == count, (name, rows(place))
                _, cpu = timed(f"{connector} alone", [BIN / connector, "write", "--config", FOLDER / f"{name}.json", "--catalog", FOLDER / "catalog.json"], stdin=records)
                assert rows(place) == count, (name, rows(place))
                print(f"  {'':34} {count / cpu / 1000:.0f} thousand rows per CPU-second")
    finally:
        store.kill()
        store.wait()
        shutil.rmtree(FOLDER)


main()
