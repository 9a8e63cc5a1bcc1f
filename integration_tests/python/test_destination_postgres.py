"""PyAirbyte writes to a real PostgreSQL through destination-postgres, unmodified."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import airbyte as ab
import pytest
from postgres_server import PASSWORD


def config(server, **more):
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "database": "postgres",
        "schema": "public",
        "username": "postgres",
        "password": PASSWORD,
        "ssl_mode": {"mode": "disable"},
        **more,
    }


def destination(connector, server, **more):
    return ab.get_destination(
        "destination-postgres",
        local_executable=connector("destination-postgres"),
        config=config(server, **more),
    )


def faker(connector, count=120):
    return ab.get_source(
        "source-faker",
        local_executable=connector("source-faker"),
        config={"count": count, "seed": 7},
        streams="*",
    )


def test_what_pyairbyte_sends_is_in_typed_tables_and_once_per_key(connector, server):
    postgres = destination(connector, server)
    postgres.check()
    for _ in range(2):
        result = postgres.write(faker(connector), cache=False, state_cache=False)
        assert result.processed_records == 120 + 100 + 120
        for stream, count in {"users": 120, "products": 100, "purchases": 120}.items():
            assert server.run(f"SELECT count(*), count(DISTINCT id), max(id) FROM {stream}") == f"{count}|{count}|{count}"
    types = server.run(
        "SELECT string_agg(DISTINCT format_type(atttypid, NULL), ',') FROM pg_attribute "
        "WHERE attrelid = 'users'::regclass AND attname IN ('id', 'created_at')"
    )
    assert types == "bigint,timestamp with time zone"
    metas = server.run("SELECT DISTINCT _airbyte_meta->'changes' FROM users")
    assert metas == "[]"


def test_a_csv_file_arrives_as_it_stands(connector, server, earthquakes):
    source = ab.get_source(
        "source-file",
        local_executable=connector("source-file"),
        config={
            "dataset_name": "earthquakes",
            "format": "csv",
            "url": str(earthquakes),
            "provider": {"storage": "local"},
        },
        streams="*",
    )
    destination(connector, server).write(source, cache=False, state_cache=False)
    with earthquakes.open(newline="") as file:
        expected = {row["id"]: (row["place"], row["sig"]) for row in csv.DictReader(file)}
    rows = json.loads(server.run("SELECT json_agg(json_build_array(id, place, sig)) FROM earthquakes"))
    assert {key: (place, str(sig)) for key, place, sig in rows} == expected


def test_normalization_makes_tables_of_what_pyairbyte_sends(connector, server):
    postgres = destination(connector, server, normalization={"mode": "basic"})
    for _ in range(2):
        postgres.write(faker(connector), cache=False, state_cache=False)
    # It asks for a refresh each time, so the second run replaces what the first has brought.
    assert server.run("SELECT count(*), count(DISTINCT id) FROM users") == "120|120"
    assert server.run("SELECT count(*), count(DISTINCT _airbyte_data->'id') FROM _airbyte_raw_users") == "120|120"
    flat = server.run(
        "SELECT count(*), count(*) FILTER (WHERE address_city IS DISTINCT FROM _airbyte_data->'address'->>'city'), "
        "count(address_city) > 100 FROM users JOIN _airbyte_raw_users ON (_airbyte_data->>'id')::bigint = id"
    )
    assert flat == "120|0|t"


@pytest.mark.parametrize("more", [{}, {"normalization": {"mode": "basic"}}], ids=["typed", "normalized"])
def test_every_scenario_of_its_smoke_test_is_written(connector, server, tmp_path, more):
    command = [
        str(Path(sys.executable).parent / "pyab"),
        "destination-smoke-test",
        "--destination",
        connector("destination-postgres"),
        "--config",
        json.dumps(config(server, **more)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    tables = server.run("SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'zz\\_deleteme%'")
    assert int(tables) >= 15, tables
