"""Start-up of each connector: wall time and peak memory of `spec`, and binary sizes; then what `ferry` adds to a sync
of an empty stream, with connectors written in shell so that their own start does not hide it.

Usage: python benches/start_up.py [RUNS]      (after a release build; needs Debian's package time)
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
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
    syncs = empty_syncs(min(runs, 20))
    print(f"ferry sync of an empty stream: median {statistics.median(syncs):.0f} ms, best {min(syncs):.0f} ms")


def empty_syncs(runs):
    """Milliseconds of each sync but the first, which makes the database."""
    spec = {"type": "SPEC", "spec": {"connectionSpecification": {}}}
    stream = {"name": "users", "json_schema": {"type": "object", "properties": {}}, "supported_sync_modes": ["full_refresh"]}
    catalog = {"type": "CATALOG", "catalog": {"streams": [stream]}}
    users = {"stream_descriptor": {"name": "users"}}
    state = {"type": "STATE", "state": {"type": "STREAM", "stream": users | {"stream_state": {}}, "sourceStats": {"recordCount": 0}}}
    complete = {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": users | {"status": "COMPLETE"}}
    said = {"spec": [spec], "discover": [catalog], "read": [state, {"type": "TRACE", "trace": complete}]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, last in [("source-empty", ""), ("destination-empty", "write) exec grep STATE;;")]:
            cases = "".join(f"{verb}) echo '" + "'; echo '".join(map(json.dumps, lines)) + "';;\n" for verb, lines in said.items())
            (folder / name).write_text(f"#!/bin/sh\ncase $1 in {cases}{last}\nesac\n")
            (folder / name).chmod(0o755)
        sync = {"source": {"connector": "./source-empty", "config": {}}, "destination": {"connector": "./destination-empty", "config": {}}}
        (folder / "sync.json").write_text(json.dumps(sync))
        walls = []
        for _ in range(runs + 1):
            start = time.perf_counter()
            subprocess.run([BIN / "ferry", "sync", "sync.json"], cwd=folder, capture_output=True, check=True)
            walls.append((time.perf_counter() - start) * 1000)
        return walls[1:]


def spec_of_true():
    start = time.perf_counter()
    subprocess.run(["true"], check=True)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
