"""What `ferry sync` writes to a bucket, read by an S3 client and two Parquet readers that are not ours."""

import decimal
import json
import subprocess

import duckdb
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


def write(folder, destination, rows):
    """Runs the connector by itself, with every type declared."""
    stream = {"name": "rows", "json_schema": {"type": "object", "properties": TYPES}, "supported_sync_modes": ["full_refresh"]}
    catalog = {"streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}
    config = {**destination["config"], "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "catalog.json").write_text(json.dumps(catalog))
    records = [{"type": "RECORD", "record": {"stream": "rows", "emitted_at": 1, "data": row}} for row in rows]
    command = [BIN / "destination-s3", "write", "--config", "config.json", "--catalog", "catalog.json"]
    feed = "".join(json.dumps(record) + "\n" for record in records)
    done = subprocess.run(command, cwd=folder, input=feed, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def objects(files):
    found = files.get_file_info(pyarrow.fs.FileSelector("lake/base/rows", recursive=True))
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
