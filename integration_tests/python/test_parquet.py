"""What `ferry sync` writes, read back by two libraries that are not ours, value by value."""

import csv
import datetime
import decimal
import json
import os
import subprocess

import duckdb
import pyarrow.parquet as pq

from conftest import BIN

TEXT = ["magType", "net", "id", "place", "type", "status", "alert"]
DECIMALS = ["latitude", "longitude", "depth", "mag", "gap", "dmin", "rms"]
INTEGERS = ["nst", "felt", "tsunami", "sig"]
TIMES = ["time", "updated"]


def sync(folder, source, destination, streams=None):
    """Runs a sync and returns its report."""
    file = {"source": source, "destination": destination}
    if streams:
        file["streams"] = streams
    (folder / "sync.yaml").write_text(json.dumps(file))
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [BIN / "ferry", "sync", "sync.yaml", "--output", "json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def file_source(path, **options):
    config = {"dataset_name": "rows", "url": str(path), "provider": {"storage": "local"}, **options}
    return {"connector": "source-file", "config": config}


def local(folder, **options):
    return {"connector": "destination-local", "config": {"destination_path": str(folder), **options}}


def by_pyarrow(lake, stream="rows"):
    files = [f for f in (lake / stream).glob("*.parquet") if not f.name.startswith(".")]
    assert files
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def by_duckdb(lake, stream="rows"):
    # Timestamps with a zone come as UTC.
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        relation = database.sql(f"select * from '{lake}/{stream}/*.parquet'")
        names = relation.columns
        return [dict(zip(names, row)) for row in relation.fetchall()]


def same_moment(value, text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    return value == moment


def test_every_value_of_the_example_is_read_back_by_pyarrow_and_duckdb(earthquakes, tmp_path):
    lake = tmp_path / "lake"
    sync(tmp_path, file_source(earthquakes, format="csv"), local(lake))
    with earthquakes.open(newline="") as file:
        expected = {row["id"]: row for row in csv.DictReader(file)}
    for read in (by_pyarrow, by_duckdb):
        rows = {row["id"]: row for row in read(lake)}
        assert rows.keys() == expected.keys(), read.__name__
        for key, wanted in expected.items():
            row = rows[key]
            for name in TEXT:
                # CSV cannot tell an empty text from none.
                assert row[name] == (wanted[name] or None), (read.__name__, key, name)
            for name in DECIMALS:
                have, want = row[name], wanted[name]
                assert (have is None) == (want == ""), (read.__name__, key, name)
                if want:
                    assert decimal.Decimal(str(have)) == decimal.Decimal(want), (key, name)
            for name in INTEGERS:
                want = wanted[name]
                assert row[name] == (int(want) if want else None), (read.__name__, key, name)
                assert row[name] is None or isinstance(row[name], int), (read.__name__, name)
            for name in TIMES:
                assert same_moment(row[name], wanted[name]), (read.__name__, key, name)


def test_whole_numbers_beyond_doubles_and_dates_are_exact(tmp_path):
    rows = [
        {"big": 9223372036854775807, "day": "2024-02-29", "text": "007"},
        {"big": -9223372036854775808, "day": "1969-12-31", "text": "é 漢字 🚢"},
        {"big": 9007199254740993, "day": None, "text": ""},
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lake = tmp_path / "lake"
    sync(tmp_path, file_source(source, format="jsonl"), local(lake))
    for read in (by_pyarrow, by_duckdb):
        got = {row["big"]: row for row in read(lake)}
        assert got.keys() == {row["big"] for row in rows}, read.__name__
        for row in rows:
            assert got[row["big"]]["text"] == row["text"], read.__name__
            day = got[row["big"]]["day"]
            assert (None if day is None else str(day)[:10]) == row["day"], read.__name__


def test_text_that_looks_like_a_number_stays_text(tmp_path):
    source = tmp_path / "rows.csv"
    source.write_text("code,n\n007,1\n010,2\n")
    lake = tmp_path / "lake"
    sync(tmp_path, file_source(source, format="csv"), local(lake))
    assert sorted((row["code"], row["n"]) for row in by_pyarrow(lake)) == [("007", 1), ("010", 2)]


def test_every_codec_and_format_holds_the_same_rows(tmp_path, earthquakes):
    ids = set()
    with earthquakes.open(newline="") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    codecs = {"uncompressed": "UNCOMPRESSED", "snappy": "SNAPPY", "gzip": "GZIP", "zstd": "ZSTD"}
    for codec, written_as in codecs.items():
        folder = tmp_path / codec
        folder.mkdir()
        sync(
            folder,
            file_source(earthquakes, format="csv"),
            local(folder / "lake", format={"format_type": "parquet", "compression_codec": codec}),
        )
        file = next((folder / "lake" / "rows").glob("*.parquet"))
        assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == written_as
        assert {row["id"] for row in by_duckdb(folder / "lake")} == ids
