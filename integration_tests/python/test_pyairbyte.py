"""PyAirbyte drives our connectors unmodified, as it would drive anybody's."""

import csv
import json

import airbyte as ab
import duckdb
import pyarrow.parquet as pq
import pytest


def faker(connector, **config):
    config = {"count": 120, "seed": 7, **config}
    return ab.get_source(
        "source-faker", local_executable=connector("source-faker"), config=config, streams="*"
    )


def file_source(connector, path, name="earthquakes", streams="*"):
    return ab.get_source(
        "source-file",
        local_executable=connector("source-file"),
        config={
            "dataset_name": name,
            "format": "csv",
            "url": str(path),
            "provider": {"storage": "local"},
        },
        streams=streams,
    )


def local(connector, folder):
    return ab.get_destination(
        "destination-local",
        local_executable=connector("destination-local"),
        config={"destination_path": str(folder)},
    )


def parquet_rows(folder):
    files = [f for f in folder.rglob("*.parquet") if not any(p.startswith(".") for p in f.parts)]
    rows = [row for file in sorted(files) for row in pq.read_table(file).to_pylist()]
    assert files, f"no Parquet file below {folder}"
    return rows


def test_source_faker_is_checked_discovered_and_read(connector):
    source = faker(connector)
    source.check()
    assert set(source.get_available_streams()) == {"users", "products", "purchases"}
    # The dataset must be held: PyAirbyte cancels the read when it is collected.
    users = source.get_records("users")
    rows = [dict(row) for row in users]
    assert [row["id"] for row in rows] == list(range(1, 121))


def test_a_config_that_does_not_work_is_reported(connector, tmp_path):
    # Choosing streams would discover them first.
    source = file_source(connector, tmp_path / "absent.csv", streams=None)
    with pytest.raises(Exception) as failure:
        source.check()
    assert "absent.csv" in str(vars(failure.value)) + str(failure.value)


def test_a_second_read_goes_on_from_the_state_of_the_first(connector, tmp_path):
    cache = ab.new_local_cache("c1", cache_dir=str(tmp_path / "cache"))
    first = faker(connector, always_updated=False).read(cache=cache)
    assert first.processed_records == 120 + 100 + 120
    second = faker(connector, always_updated=False).read(cache=cache)
    assert second.processed_records == 0
    more = faker(connector, always_updated=False, count=150).read(cache=cache)
    assert more.processed_records == 30 + 0 + 30
    ids = sorted(row["id"] for row in more["users"])
    assert ids == list(range(1, 151))


def test_source_file_arrives_in_a_duckdb_cache_as_it_stands_in_the_file(
    connector, earthquakes, tmp_path
):
    cache = ab.new_local_cache("c1", cache_dir=str(tmp_path / "cache"))
    result = file_source(connector, earthquakes).read(cache=cache)
    with earthquakes.open(newline="") as file:
        expected = {row["id"]: row for row in csv.DictReader(file)}
    assert result.processed_records == len(expected) == 1707
    for row in result["earthquakes"]:
        wanted = expected.pop(row["id"])
        assert row["place"] == wanted["place"]
        assert float(row["mag"]) == float(wanted["mag"])
        assert row["sig"] == int(wanted["sig"])
        assert (row["felt"] is None) == (wanted["felt"] == "")
    assert not expected


def test_destination_local_takes_what_pyairbyte_sends(connector, tmp_path):
    lake = tmp_path / "lake"
    destination = local(connector, lake)
    destination.check()
    result = destination.write(faker(connector), cache=False, state_cache=False)
    assert result.processed_records == 120 + 100 + 120
    users = parquet_rows(lake / "users")
    assert sorted(row["id"] for row in users) == list(range(1, 121))
    assert all(row["_airbyte_generation_id"] == 1 for row in users)
    assert all(json.loads(row["_airbyte_meta"])["changes"] == [] for row in users)
    assert len({row["_airbyte_raw_id"] for row in users}) == 120


def test_writing_twice_keeps_one_row_of_each_key(connector, tmp_path):
    lake = tmp_path / "lake"
    for _ in range(2):
        local(connector, lake).write(faker(connector), cache=False, state_cache=False)
    for stream, count in {"users": 120, "products": 100, "purchases": 120}.items():
        ids = sorted(row["id"] for row in parquet_rows(lake / stream))
        assert ids == list(range(1, count + 1)), stream


def test_a_file_source_and_our_destination_together_keep_every_value(
    connector, earthquakes, tmp_path
):
    lake = tmp_path / "lake"
    source = file_source(connector, earthquakes)
    local(connector, lake).write(source, cache=False, state_cache=False)
    with earthquakes.open(newline="") as file:
        expected = {row["id"]: row for row in csv.DictReader(file)}
    rows = duckdb.sql(f"select id, place, sig from '{lake}/earthquakes/*.parquet'").fetchall()
    assert len(rows) == len(expected)
    for key, place, sig in rows:
        assert (place, sig) == (expected[key]["place"], int(expected[key]["sig"]))
