"""What `ferry sync` writes to a bucket, read by an S3 client and two Parquet readers that are not ours."""

import datetime
import decimal
import io
import json
import subprocess

import duckdb
import fastavro
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from conftest import BIN
from moto.server import ThreadedMotoServer
from test_parquet import file_source, sync

ROWS = [
    {"id": 1, "big": 9223372036854775807, "price": 0.1, "day": "2024-02-29", "at": "2024-02-29T23:59:59.123456Z",
     "text": "007", "yes": True, "tags": ["a", None], "nested": {"x": {"y": 1.50}}},
    {"id": 2, "big": -9223372036854775808, "price": 1234567.25, "day": "1969-12-31", "at": "1969-12-31T23:59:59.999999Z",
     "text": "é 漢字 🚢", "yes": False, "tags": [], "nested": {}},
    {"id": 3, "big": 9007199254740993, "price": None, "day": None, "at": None, "text": "", "yes": None, "tags": None,
     "nested": None},
]


@pytest.fixture
def bucket():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    files = pyarrow.fs.S3FileSystem(
        access_key="key", secret_key="secret", region="us-east-1", scheme="http",
        endpoint_override=f"{host}:{port}", allow_bucket_creation=True,
    )
    files.create_dir("lake")
    yield f"http://{host}:{port}", files
    # What it holds outlives the server, within one process.
    files.delete_dir_contents("lake")
    server.stop()


def s3(endpoint, **format):
    config = {
        "s3_endpoint": endpoint, "s3_bucket_name": "lake", "s3_bucket_path": "base", "s3_bucket_region": "us-east-1",
        "access_key_id": "key", "secret_access_key": "secret", "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/",
        "format": format,
    }
    # ferry fills in ${…} by itself; $$ keeps it.
    config["s3_path_format"] = config["s3_path_format"].replace("${", "$${")
    return {"connector": "destination-s3", "config": config}


TYPES = {
    "id": {"type": "integer"}, "big": {"type": "integer"}, "price": {"type": "number"}, "text": {"type": "string"},
    "yes": {"type": "boolean"}, "tags": {"type": "array"}, "nested": {"type": "object"},
    "day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"},
}


def write(folder, destination, rows, types=TYPES, stream="rows"):
    """Runs the connector by itself, with every type declared."""
    stream = {"name": stream, "json_schema": {"type": "object", "properties": types}, "supported_sync_modes": ["full_refresh"]}
    catalog = {"streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}
    config = {**destination["config"], "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "catalog.json").write_text(json.dumps(catalog))
    records = [{"type": "RECORD", "record": {"stream": stream["name"], "emitted_at": 1, "data": row}} for row in rows]
    command = [BIN / "destination-s3", "write", "--config", "config.json", "--catalog", "catalog.json"]
    feed = "".join(json.dumps(record) + "\n" for record in records)
    done = subprocess.run(command, cwd=folder, input=feed, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def objects(files, stream="rows"):
    found = files.get_file_info(pyarrow.fs.FileSelector(f"lake/base/{stream}", recursive=True))
    return [info.path for info in found if info.is_file]


@pytest.mark.parametrize("codec", ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4"])
def test_every_value_is_read_back_exactly_by_pyarrow_and_duckdb(bucket, tmp_path, codec):
    endpoint, files = bucket
    write(tmp_path, s3(endpoint, format_type="Parquet", compression_codec=codec), ROWS)
    [path] = objects(files)
    assert path == "lake/base/rows/0.parquet"
    table = pq.read_table(path, filesystem=files)
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(files.open_input_file(path).read())
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        relation = database.sql(f"select * from '{copy}'")
        by_duckdb = [dict(zip(relation.columns, row)) for row in relation.fetchall()]
    for rows in (table.to_pylist(), by_duckdb):
        rows = {row["id"]: row for row in rows}
        assert rows.keys() == {1, 2, 3}
        for wanted in ROWS:
            row = rows[wanted["id"]]
            for name in ("big", "text", "yes", "price"):
                assert row[name] == wanted[name], name
            assert (None if row["day"] is None else str(row["day"])[:10]) == wanted["day"]
            at = None if row["at"] is None else row["at"].isoformat().replace("+00:00", "") + "Z"
            assert at == wanted["at"]
            for name in ("tags", "nested"):
                assert (None if row[name] is None else json.loads(row[name])) == wanted[name], name
            assert json.loads(row["_airbyte_meta"])["changes"] == []


def test_digits_survive_in_json_lines(bucket, tmp_path):
    endpoint, files = bucket
    source = tmp_path / "rows.jsonl"
    source.write_text('{"id":1,"n":12345678901234567890.123456789}\n')
    sync(tmp_path, file_source(source, format="jsonl"), s3(endpoint, format_type="JSONL", flattening="Root level flattening"))
    [path] = objects(files)
    row = json.loads(files.open_input_file(path).read(), parse_float=decimal.Decimal)
    assert row["n"] == decimal.Decimal("12345678901234567890.123456789")


def test_df_05_odd_columns_are_valid_files_for_two_independent_readers(bucket, tmp_path):
    endpoint, files = bucket
    types = {
        "id": {"type": "integer"}, "none": {"type": "string"}, "never": {"type": "number"}, "decimal": {"type": "number"},
        "nanos": {"type": "string", "format": "date-time"}, "unsigned": {"type": "integer"},
    }
    rows = [
        {"id": 1, "decimal": 10**39 + 1, "nanos": "2024-01-01T00:00:00.123456789Z", "unsigned": 2**64 - 1},
        {"id": 2, "decimal": 0.5, "nanos": "2024-01-01T00:00:00.123456Z", "unsigned": 2**63 - 1},
    ]
    for stream, content in (("filled", rows), ("empty", [])):
        write(tmp_path, s3(endpoint, format_type="Parquet"), content, types, stream)
        [path] = objects(files, stream)
        by_pyarrow = pq.read_table(path, filesystem=files).to_pylist()
        copy = tmp_path / f"{stream}.parquet"
        copy.write_bytes(files.open_input_file(path).read())
        with duckdb.connect() as database:
            columns = "id, none, never, decimal, nanos is null, unsigned"
            by_duckdb = database.sql(f"select {columns} from '{copy}' order by id").fetchall()
        assert [(r["id"], r["none"], r["never"], r["decimal"], r["nanos"] is None, r["unsigned"]) for r in by_pyarrow] == by_duckdb
        if content:
            assert by_duckdb == [(1, None, None, None, True, None), (2, None, None, 0.5, False, 2**63 - 1)]
            changes = json.loads(by_pyarrow[0]["_airbyte_meta"])["changes"]
            assert [change["field"] for change in changes] == ["decimal", "nanos", "unsigned"]
        else:
            assert by_duckdb == []


NESTED_TYPES = {
    "id": {"type": "integer"},
    "address": {"type": ["null", "object"], "properties": {
        "city": {"type": "string"}, "number": {"type": "integer"},
        "geo": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}},
    }},
    "tags": {"type": "array", "items": {"type": "string"}},
    "visits": {"type": "array", "items": {"type": "object", "properties": {
        "on": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"},
        "pages": {"type": "array", "items": {"type": "integer"}},
    }}},
    "anything": {"type": "object"},
    "either": {"type": ["integer", "string"]},
    "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}},
    "some": {"type": "array", "items": {}},
}
NESTED = [
    {"id": 1, "address": {"city": "Zürich", "number": 9223372036854775807, "geo": {"lat": 47.5, "lon": -0.1}}, "tags": ["a", None, ""],
     "visits": [{"on": "2024-02-29", "at": "2024-02-29T23:59:59.123456Z", "pages": [1, None, -3]}, None, {"on": None, "at": None, "pages": []}],
     "anything": {"x": [1.50]}, "either": "one", "matrix": [[True, None], [], None], "some": [1, "two", {"three": 3}]},
    {"id": 2, "address": None, "tags": [], "visits": None, "anything": None, "either": 1, "matrix": [], "some": None},
    {"id": 3, "address": {"geo": None}, "tags": None, "visits": [], "anything": {}, "either": None, "matrix": None, "some": []},
    {"id": 4},
]
TEXTS = ("anything", "either")


def wanted(row):
    """The row as a reader that knows groups and lists has it."""
    row = {name: row.get(name) for name in NESTED_TYPES}
    if row["address"] is not None:
        row["address"] = {name: row["address"].get(name) for name in ("city", "number", "geo")}
    day = lambda text: text and datetime.date.fromisoformat(text)
    moment = lambda text: text and datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if row["visits"] is not None:
        row["visits"] = [v and {"on": day(v["on"]), "at": moment(v["at"]), "pages": v["pages"]} for v in row["visits"]]
    return row


def compare(rows, meta):
    rows = {row["id"]: row for row in rows}
    assert rows.keys() == {1, 2, 3, 4}
    for row in map(wanted, NESTED):
        got = {name: rows[row["id"]][name] for name in NESTED_TYPES}
        for name in TEXTS:
            got[name] = None if got[name] is None else json.loads(got[name])
        got["some"] = None if got["some"] is None else [json.loads(item) for item in got["some"]]
        assert got == row
        assert rows[row["id"]]["_airbyte_meta"] == meta


def test_groups_and_lists_are_read_back_exactly_by_pyarrow_and_duckdb(bucket, tmp_path):
    endpoint, files = bucket
    options = {"format_type": "Parquet", "compression_codec": "SNAPPY", "nested_values": "Groups and lists"}
    write(tmp_path, s3(endpoint, **options), NESTED, NESTED_TYPES)
    [path] = objects(files)
    table = pq.read_table(path, filesystem=files)
    assert pyarrow.types.is_struct(table.schema.field("address").type)
    assert table.schema.field("address").type.field("number").type == pyarrow.int64()
    assert table.schema.field("visits").type.value_type.field("pages").type.value_type == pyarrow.int64()
    compare(table.to_pylist(), {"sync_id": None, "changes": []})
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(files.open_input_file(path).read())
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        relation = database.sql(f"select * from '{copy}'")
        rows = [dict(zip(relation.columns, row)) for row in relation.fetchall()]
        assert database.sql(f"select address.geo.lat from '{copy}' where id = 1").fetchall() == [(47.5,)]
    for row in rows:
        for visit in filter(None, row["visits"] or []):
            if visit["at"] is not None and visit["at"].tzinfo is None:
                visit["at"] = visit["at"].replace(tzinfo=datetime.timezone.utc)
    compare(rows, {"sync_id": None, "changes": []})


@pytest.mark.parametrize("format_type", ["Parquet", "Avro"])
def test_what_groups_cannot_hold_is_named_by_its_path(bucket, tmp_path, format_type):
    endpoint, files = bucket
    options = {"nested_values": "Groups and lists"} if format_type == "Parquet" else {}
    rows = [
        {"id": 1, "address": {"city": "x", "number": 1.5, "zip": "8000"}, "visits": [{"pages": [1, "many", "more"]}, 7]},
        {"id": 2, "address": "none", "tags": [{"a": 1}], "visits": [{"on": "yesterday"}]},
    ]
    write(tmp_path, s3(endpoint, format_type=format_type, **options), rows, NESTED_TYPES)
    [path] = objects(files)
    if format_type == "Parquet":
        got = pq.read_table(path, filesystem=files).to_pylist()
    else:
        got = list(fastavro.reader(io.BytesIO(files.open_input_file(path).read())))
    first, second = sorted(got, key=lambda row: row["id"])
    assert first["address"] == {"city": "x", "number": None, "geo": None}
    assert first["visits"] == [{"on": None, "at": None, "pages": [1, None, None]}, None]
    assert second["address"] is None and second["tags"] == ['{"a": 1}'] and second["visits"][0]["on"] is None
    changes = lambda row: {(c["field"], c["change"], c["reason"]) for c in row["_airbyte_meta"]["changes"]}
    wrong = "DESTINATION_SERIALIZATION_ERROR"
    assert changes(first) == {
        ("address.number", "NULLED", wrong), ("address.zip", "TRUNCATED", wrong),
        ("visits.pages", "NULLED", wrong), ("visits", "NULLED", wrong),
    }
    assert changes(second) == {("address", "NULLED", wrong), ("visits.on", "NULLED", wrong)}


AVRO_CODECS = [
    ("null", {"codec": "no compression"}),
    ("deflate", {"codec": "Deflate"}),
    ("deflate", {"codec": "Deflate", "compression_level": 9}),
    ("snappy", {"codec": "snappy"}),
    ("zstandard", {"codec": "zstandard", "compression_level": -5, "include_checksum": True}),
    ("zstandard", {"codec": "zstandard"}),
    ("bzip2", {"codec": "bzip2"}),
    ("xz", {"codec": "xz", "compression_level": 1}),
]


@pytest.mark.parametrize("name, codec", AVRO_CODECS)
def test_every_value_of_avro_is_read_back_exactly_by_fastavro(bucket, tmp_path, name, codec):
    endpoint, files = bucket
    types = {**TYPES, "clock": {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}}
    rows = [{**row, "clock": "23:59:59.999999"} for row in ROWS] + [{"id": n, "text": f"row {n}"} for n in range(4, 20_000)]
    write(tmp_path, s3(endpoint, format_type="Avro", compression_codec=codec), rows, types)
    [path] = objects(files)
    assert path == "lake/base/rows/0.avro"
    reader = fastavro.reader(io.BytesIO(files.open_input_file(path).read()))
    assert reader.metadata["avro.codec"] == name
    got = {row["id"]: row for row in reader}
    assert got.keys() == {row["id"] for row in rows}
    for row in rows:
        have = got[row["id"]]
        for field in ("big", "text", "yes", "price"):
            assert have[field] == row.get(field), field
        assert (have["day"] and have["day"].isoformat()) == row.get("day")
        assert (have["at"] and have["at"].isoformat().replace("+00:00", "Z")) == row.get("at")
        assert (have["clock"] and have["clock"].isoformat()) == row.get("clock")
        for field in ("tags", "nested"):
            assert (have[field] and json.loads(have[field])) == row.get(field), field
        assert have["_airbyte_meta"] == {"sync_id": None, "changes": []}
        assert have["_airbyte_extracted_at"] == datetime.datetime.fromtimestamp(0.001, datetime.timezone.utc)
        assert have["_airbyte_generation_id"] == 0 and len(have["_airbyte_raw_id"]) == 36


def test_records_and_arrays_of_avro_are_read_back_exactly_by_fastavro(bucket, tmp_path):
    endpoint, files = bucket
    types = {**NESTED_TYPES, "a b": {"type": "string"}, "a-b": {"type": "string"}, "1st": {"type": "integer"}}
    rows = [{**row, "a b": "x", "a-b": "y", "1st": 1} for row in NESTED]
    write(tmp_path, s3(endpoint, format_type="Avro"), rows, types)
    [path] = objects(files)
    reader = fastavro.reader(io.BytesIO(files.open_input_file(path).read()))
    names = {field["name"]: field for field in reader.writer_schema["fields"]}
    assert reader.writer_schema["name"] in ("rows", "default.rows")
    assert names["a_b_2"]["ferrybyte.name"] == "a-b" and names["_1st"]["ferrybyte.name"] == "1st"
    got = list(reader)
    assert all((row["a_b"], row["a_b_2"], row["_1st"]) == ("x", "y", 1) for row in got)
    compare(got, {"sync_id": None, "changes": []})


def test_a_stream_without_rows_is_an_avro_file_without_rows(bucket, tmp_path):
    endpoint, files = bucket
    write(tmp_path, s3(endpoint, format_type="Avro", compression_codec={"codec": "snappy"}), [], stream="odd name/1")
    [path] = objects(files, "odd name%2F1")
    reader = fastavro.reader(io.BytesIO(files.open_input_file(path).read()))
    assert list(reader) == [] and reader.writer_schema["name"].endswith("odd_name_1")
