"""Reading PostgreSQL against the server's own tools, on one server, in turn.

Usage: python benches/postgres.py PORT [ROUNDS] [BIN]
Needs: a release build of source-postgres; psql and pg_recvlogical; a server on 127.0.0.1:PORT that lets
user postgres in without a password, with wal_level=logical and the table `orders` of 2,000,000 rows.

1. `read` of a full refresh into /dev/null over one and two connections, against
   `COPY orders TO STDOUT (FORMAT binary)` by psql.
2. The same backlog of 750,000 changes drained by `read` and by pg_recvlogical: 500,000 inserts, 200,000
   updates, 50,000 deletes; in transactions of 10,000 rows and, 75,000 of them, of one row.

Prints wall, CPU and peak memory of each round, and the median of the ratios.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT = sys.argv[1]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
BIN = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else ROOT / "target" / "release"
CONNECT = ["-h", "127.0.0.1", "-p", PORT, "-U", "postgres"]
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))


def psql(sql):
    done = subprocess.run(["psql", *CONNECT, "-qXAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres"], input=sql, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def timed(command, stdout=subprocess.DEVNULL):
    """Wall and CPU seconds and peak MiB, by GNU time."""
    done = subprocess.run(["/usr/bin/time", "-f", "%e %U %S %M", *map(str, command)], stdout=stdout, stderr=subprocess.PIPE, text=True, check=True)
    wall, user, system, peak = done.stderr.strip().splitlines()[-1].split()
    return float(wall), float(user) + float(system), int(peak) / 1024


def server_cpu():
    """CPU seconds of all processes of the server, ended ones included."""
    ticks = 0
    pid = int(pathlib.Path(psql("SHOW data_directory"), "postmaster.pid").read_text().split()[0])
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks += sum(map(int, fields[11:15]))
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / 100


def config(connections, **more):
    path = FOLDER / f"config{connections}{len(more)}.json"
    path.write_text(json.dumps({"host": "127.0.0.1", "port": int(PORT), "database": "postgres", "username": "postgres",
                                "password": "unused", "ssl_mode": {"mode": "disable"}, "max_db_connections": connections, **more}))
    return path


def catalog(config_path, name, mode, destination):
    out = subprocess.run([BIN / "source-postgres", "discover", "--config", config_path], capture_output=True, text=True, check=True)
    streams = next(json.loads(line)["catalog"]["streams"] for line in out.stdout.splitlines() if '"CATALOG"' in line)
    stream = next(s for s in streams if s["name"] == name)
    path = FOLDER / f"{name}.{mode}.json"
    path.write_text(json.dumps({"streams": [{"stream": stream, "sync_mode": mode, "destination_sync_mode": destination,
                                             "primary_key": stream.get("source_defined_primary_key", [])}]}))
    return path


def show(name, figures, base=None):
    wall, cpu, peak = figures[:3]
    ratio = f"  ratio {wall / base:.2f}" if base else ""
    server = f"  server cpu {figures[3]:5.2f} s" if len(figures) > 3 else ""
    print(f"  {name:34} wall {wall:6.2f} s  cpu {cpu:5.2f} s  peak {peak:5.1f} MiB{server}{ratio}", flush=True)
    return wall / base if base else None


def with_server(command):
    before = server_cpu()
    figures = timed(command)
    return (*figures, server_cpu() - before)


def full_refresh():
    print("full refresh of orders")
    ratios = {1: [], 2: []}
    for _ in range(ROUNDS):
        copy = with_server(["psql", *CONNECT, "-qX", "-d", "postgres", "-c", "COPY orders TO STDOUT (FORMAT binary)"])
        show("psql, binary COPY", copy)
        for connections in (1, 2):
            path = config(connections)
            figures = with_server([BIN / "source-postgres", "read", "--config", path, "--catalog", catalog(path, "orders", "full_refresh", "overwrite")])
            ratios[connections].append(show(f"read, {connections} connection(s)", figures, copy[0]))
    for connections, found in ratios.items():
        print(f"{connections} connection(s): median ratio {statistics.median(found):.2f} of {[round(r, 2) for r in found]}")


COLUMNS = "id, customer_id, created_at, updated_at, amount, status, is_gift, note, attrs, ship_date, ref, score"


def backlog(label, changes, rows_each):
    print(f"{changes} changes, {label}")
    psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'bench%' AND NOT active")
    psql("DROP PUBLICATION IF EXISTS bench; DROP TABLE IF EXISTS changed; CREATE TABLE changed (LIKE orders INCLUDING ALL); "
         "CREATE PUBLICATION bench FOR TABLE changed")
    psql("SELECT pg_create_logical_replication_slot('bench', 'pgoutput')")
    path = config(1, replication_method={"method": "CDC", "replication_slot": "bench", "publication": "bench"})
    selected = catalog(path, "changed", "incremental", "append_dedup")
    out = subprocess.run([BIN / "source-postgres", "read", "--config", path, "--catalog", selected], capture_output=True, text=True, check=True)
    state = FOLDER / "state.json"
    states = [json.loads(line)["state"] for line in out.stdout.splitlines() if '"type":"STATE"' in line]
    state.write_text(json.dumps(states[-1:]))
    inserts, updates, deletes = changes * 2 // 3, changes * 4 // 15, changes // 15
    psql(f"""
    DO $$ BEGIN
      FOR i IN 0..{inserts // rows_each - 1} LOOP
        INSERT INTO changed SELECT {COLUMNS} FROM orders WHERE id > i * {rows_each} AND id <= (i + 1) * {rows_each}; COMMIT;
      END LOOP;
      FOR i IN 0..{updates // rows_each - 1} LOOP
        UPDATE changed SET status = 'updated', score = 1 WHERE id > i * {rows_each} AND id <= (i + 1) * {rows_each}; COMMIT;
      END LOOP;
      FOR i IN 0..{deletes // rows_each - 1} LOOP
        DELETE FROM changed WHERE id > i * {rows_each} AND id <= (i + 1) * {rows_each}; COMMIT;
      END LOOP;
    END $$""")
    end = psql("SELECT pg_current_wal_flush_lsn()")
    ratios = []
    for number in range(ROUNDS):
        psql(f"SELECT pg_copy_logical_replication_slot('bench', 'bench{number}')")
        theirs = with_server(["pg_recvlogical", *CONNECT, "-d", "postgres", "--slot", f"bench{number}", "--start", "--endpos", end,
                              "--no-loop", "-o", "proto_version=1", "-o", "publication_names=bench", "-f", "/dev/null"])
        show("pg_recvlogical", theirs)
        ours = with_server([BIN / "source-postgres", "read", "--config", path, "--catalog", selected, "--state", state])
        ratios.append(show("read", ours, theirs[0]))
    out = subprocess.run([BIN / "source-postgres", "read", "--config", path, "--catalog", selected, "--state", state], capture_output=True, text=True, check=True)
    counted = len(re.findall(r'^\{"type":"RECORD"', out.stdout, re.M))
    assert counted == inserts + updates + deletes, f"{counted} records"
    print(f"median ratio {statistics.median(ratios):.2f} of {[round(r, 2) for r in ratios]}; {counted} records counted")
    psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'bench%' AND NOT active")


if __name__ == "__main__":
    full_refresh()
    backlog("10,000 rows a transaction", 750_000, 10_000)
    backlog("one row a transaction", 75_000, 1)
