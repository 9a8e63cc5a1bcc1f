"""Into PostgreSQL through `ferry sync`, against what people do by hand, in turn on the same server.

Usage: PGHOST=… PGPORT=… PGUSER=… PGDATABASE=… python benches/postgres_load.py [ROUNDS] [pipe] [csv] [dedup] [same]
Needs: a release build of ferry, source-file, source-postgres and destination-postgres; psql and pg_dump; a table
`orders` in schema public of PGDATABASE (docs/benchmarks/README.md says which). Makes the databases `ferry_bench`,
`ferry_bench_hand` and `ferry_bench_source` and drops them at the end; reads `orders` and changes nothing there.

pipe   PostgreSQL → PostgreSQL, overwrite, against `pg_dump -t orders | psql`
csv    CSV → PostgreSQL, overwrite, against `psql \\copy` into the same columns
dedup  append_dedup of as many rows as the target has, half of them new, against COPY into a staging table and
       INSERT … ON CONFLICT by hand, into a table of the source's columns with its primary key
same   the same, but by hand into a copy of the very table that ferry has made: 16 columns, three indexes

Prints, per round, wall and client CPU of both and the peak memory of each client process; then the median ratio.
Counts and contents of both results are compared in every round.
"""

import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

from csv_to_parquet import timed

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
OURS, HAND, NEXT = "ferry_bench", "ferry_bench_hand", "ferry_bench_source"
FIRST = os.environ.get("PGDATABASE", "postgres")
COLUMNS = "id customer_id created_at updated_at amount status is_gift note attrs ship_date ref score".split()


def psql(database, sql):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.strip()


def fresh(database):
    psql(FIRST, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    psql(FIRST, f"CREATE DATABASE {database}")


def settled():
    """Nobody pays for what the run before left to be written."""
    psql(FIRST, "CHECKPOINT")


def shell(script):
    return timed(["bash", "-e", "-o", "pipefail", "-c", script])


def contents(database, table="orders"):
    """Row count and an order-free sum over the text of every row; what differs in type and not in value is equal."""
    sql = f"""SET TIME ZONE 'UTC'; SET extra_float_digits = 1;
        SELECT count(*), sum(hashtextextended(concat_ws('|', id, customer_id, created_at, updated_at, amount, status,
        is_gift::text::boolean, note, attrs::jsonb, ship_date, ref, score::float8), 0)::numeric) FROM {table}"""
    return psql(database, sql)


def config(database, **more):
    return {
        "host": os.environ.get("PGHOST", "127.0.0.1"),
        "port": int(os.environ.get("PGPORT", "5432")),
        "database": database,
        "username": os.environ.get("PGUSER", "postgres"),
        "password": "${PGPASSWORD}",
        "ssl_mode": {"mode": "disable"},
        **more,
    }


def source(database):
    method = {"replication_method": {"method": "Standard"}}
    return {"connector": str(BIN / "source-postgres"), "config": config(database, schemas=["public"], **method)}


def sync(work, source, stream):
    """One `ferry sync` with a store of its own."""
    destination = {"connector": str(BIN / "destination-postgres"), "config": config(OURS, schema="public")}
    (work / "sync.yaml").write_text(
        json.dumps({"source": source, "destination": destination, "streams": [{"name": "orders", **stream}]})
    )
    shutil.rmtree(work / ".ferry", ignore_errors=True)
    settled()
    return timed([str(BIN / "ferry"), "sync", str(work / "sync.yaml"), "--output", "json"])


def pipe(work):
    fresh(OURS)
    ours = sync(work, source(FIRST), {"sync_mode": "full_refresh", "destination_sync_mode": "overwrite"})
    fresh(HAND)
    settled()
    theirs = shell(f"pg_dump -t public.orders {FIRST} | psql -X -q -d {HAND} -v ON_ERROR_STOP=1 >/dev/null")
    return ours, theirs, contents(OURS), contents(HAND)


def csv(work):
    path = work / "orders.csv"
    if not path.exists():
        psql(FIRST, f"\\copy orders to '{path}' csv header")
    reader = {"dataset_name": "orders", "format": "csv", "url": str(path), "provider": {"storage": "local"}}
    fresh(OURS)
    from_file = {"connector": str(BIN / "source-file"), "config": reader}
    ours = sync(work, from_file, {"sync_mode": "full_refresh", "destination_sync_mode": "overwrite"})
    fresh(HAND)
    shell(f"pg_dump -s -t public.orders {FIRST} | psql -X -q -d {HAND} >/dev/null")
    psql(HAND, "ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    settled()
    theirs = timed(["psql", "-X", "-q", "-d", HAND, "-c", f"\\copy orders from '{path}' csv header"])
    return ours, theirs, contents(OURS), contents(HAND)


def merge_of(columns, target, key="id"):
    others = [c for c in columns if c != key]
    return (
        f"INSERT INTO {target} SELECT * FROM staging ON CONFLICT ({key}) DO UPDATE SET "
        f"({', '.join(others)}) = ({', '.join('EXCLUDED.' + c for c in others)}) "
        f"WHERE {target}.updated_at < EXCLUDED.updated_at"
    )


def by_hand(select, merge):
    """COPY to a staging table and one upsert, in a transaction."""
    return shell(
        f"psql -X -d {NEXT} -c {shlex.quote(f'COPY ({select}) TO STDOUT (FORMAT binary)')} | psql -X -q -d {HAND} -v ON_ERROR_STOP=1 -c 'BEGIN' "
        f"-c 'CREATE TEMP TABLE staging (LIKE orders)' -c 'COPY staging FROM STDIN (FORMAT binary)' -c 'ANALYZE staging' "
        f"-c {shlex.quote(merge)} -c 'COMMIT'"
    )


def dedup(work, same_table=False):
    """The table once more, but only its later half and as many rows after it, all changed a day later."""
    half = psql(FIRST, "SELECT max(id) / 2 FROM orders")
    shifted = [f"(id + {half}) AS id" if c == "id" else c for c in COLUMNS]
    shifted = ", ".join("updated_at + interval '400 days' AS updated_at" if c == "updated_at" else c for c in shifted)
    if psql(FIRST, f"SELECT count(*) FROM pg_database WHERE datname = '{NEXT}'") == "0":
        fresh(NEXT)
        shell(f"pg_dump -s -t public.orders {FIRST} | psql -X -q -d {NEXT} >/dev/null")
        copy = f"COPY (SELECT {shifted} FROM orders) TO STDOUT (FORMAT binary)"
        shell(f"psql -X -d {FIRST} -c {shlex.quote(copy)} | psql -X -q -d {NEXT} -c 'COPY orders FROM STDIN (FORMAT binary)'")
        psql(NEXT, "VACUUM ANALYZE orders")
    mode = {"sync_mode": "incremental", "destination_sync_mode": "append_dedup", "cursor_field": ["updated_at"]}
    fresh(OURS)
    sync(work, source(FIRST), mode)
    psql(OURS, "VACUUM ANALYZE orders")
    if same_table:
        psql(FIRST, f"DROP DATABASE IF EXISTS {HAND} WITH (FORCE)")
        psql(FIRST, f"CREATE DATABASE {HAND} TEMPLATE {OURS}")
    else:
        fresh(HAND)
        shell(f"pg_dump -t public.orders {FIRST} | psql -X -q -d {HAND} >/dev/null")
        psql(HAND, "VACUUM ANALYZE orders")
    settled()
    ours = sync(work, source(NEXT), mode)
    settled()
    if same_table:
        types = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum"
        columns = [line.split("|") for line in psql(HAND, types).splitlines()]
        # A double's own cast to numeric rounds to 15 digits.
        select = ", ".join(ADDED.get(name, f"{name}::text::numeric" if type_ == "numeric" else f"{name}::{type_}") for name, type_ in columns)
        theirs = by_hand(f"SELECT {select} FROM orders", merge_of([name for name, _ in columns], "orders"))
    else:
        theirs = by_hand("SELECT * FROM orders", merge_of(COLUMNS, "orders"))
    return ours, theirs, contents(OURS), contents(HAND)


def same(work):
    return dedup(work, same_table=True)


# What somebody would put into the added columns by hand.
ADDED = {
    "_airbyte_raw_id": "gen_random_uuid()::text::varchar",
    "_airbyte_extracted_at": "now()",
    "_airbyte_meta": """'{"changes": [], "sync_id": 1}'::jsonb""",
    "_airbyte_generation_id": "0::bigint",
}


RUNS = {
    "pipe": (pipe, "pg_dump | psql"),
    "csv": (csv, "psql \\copy"),
    "dedup": (dedup, "staging and ON CONFLICT"),
    "same": (same, "the same into ferry's table"),
}


def main():
    rounds = next((int(a) for a in sys.argv[1:] if a.isdigit()), 3)
    wanted = [a for a in sys.argv[1:] if a in RUNS] or list(RUNS)
    os.environ.setdefault("PGPASSWORD", "")
    ratios = {name: [] for name in wanted}
    try:
        with tempfile.TemporaryDirectory() as work:
            for number in range(1, rounds + 1):
                for name in wanted:
                    run, yardstick = RUNS[name]
                    ours, theirs, have, want = run(pathlib.Path(work))
                    if have != want:
                        sys.exit(f"{name}: rows and contents differ: ferry {have}, by hand {want}")
                    ratios[name].append(ours[0] / theirs[0])
                    rows = int(have.split("|")[0])
                    for who, (wall, cpu, peaks) in (("ferry", ours), (yardstick, theirs)):
                        each = f"{cpu / rows * 1e6:.2f} µs a row of the result"
                        print(f"{name} {number} {who:24} wall {wall:6.2f} s  cpu {cpu:5.2f} s ({each})  {peaks}", flush=True)
    finally:
        for database in (OURS, HAND, NEXT):
            psql(FIRST, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    for name, all_of_them in ratios.items():
        print(f"{name}: wall ferry / {RUNS[name][1]}: median {statistics.median(all_of_them):.2f}, all {[round(r, 2) for r in all_of_them]}")


if __name__ == "__main__":
    main()
