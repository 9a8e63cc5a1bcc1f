"""Files written by others, read from a store by source-s3, value by value."""

import datetime
import decimal
import json
import os
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path

import boto3
import fastavro
import pyarrow
import pyarrow.parquet
import pytest

BUCKET = "lake"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store, and a client that is not ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(tmp_path_factory.mktemp("store") / "log", "w")
    server = subprocess.Popen(
        [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    for _ in range(600):
        try:
            client.create_bucket(Bucket=BUCKET)
            break
        except Exception:
            assert server.poll() is None, Path(log.name).read_text()
            time.sleep(0.1)
    yield endpoint, client
    server.kill()
    server.wait()


def read(connector, store, tmp_path, glob, file_format, **stream):
    """The discovered properties, and the rows without the columns that every stream has."""
    config = {
        "bucket": BUCKET,
        "endpoint": store[0],
        "credentials": {"auth_type": "iam_user", "aws_access_key_id": "a", "aws_secret_access_key": "b"},
        "streams": [{"name": "s", "globs": [glob], "format": file_format, **stream}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}

    def run(*args):
        command = [connector("source-s3"), *args, "--config", str(tmp_path / "config.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line, parse_float=decimal.Decimal) for line in done.stdout.splitlines()]

    catalog = next(m["catalog"] for m in run("discover") if m["type"] == "CATALOG")
    stream = catalog["streams"][0]
    configured = {"streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}
    (tmp_path / "catalog.json").write_text(json.dumps(configured))
    messages = run("read", "--catalog", str(tmp_path / "catalog.json"))
    rows = [m["record"]["data"] for m in messages if m["type"] == "RECORD"]
    own = {k: v for k, v in stream["json_schema"]["properties"].items() if not k.startswith("_ab_")}
    return own, [{k: v for k, v in row.items() if not k.startswith("_ab_")} for row in rows]


SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "small", "type": ["null", "int"]},
        {"name": "ok", "type": "boolean"},
        {"name": "ratio", "type": "double"},
        {"name": "half", "type": "float"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "raw", "type": "bytes"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 4}},
        {"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "clock", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "ref", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "OLD"]}},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "attrs", "type": {"type": "map", "values": "long"}},
        {"name": "either", "type": ["null", "long", "string"]},
        {
            "name": "inner",
            "type": {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "Kind"}, {"name": "next", "type": ["null", "Inner"]}]},
        },
    ],
}


def order(n):
    utc = datetime.timezone.utc
    return {
        "id": 2**62 + n,
        "small": None if n % 2 else -n,
        "ok": n % 3 == 0,
        "ratio": n / 7,
        "half": 0.5,
        "name": None if n % 5 == 0 else f'Grüße "{n}"\n',
        "raw": bytes([n % 256, 255]),
        "amount": decimal.Decimal("-12345678901234567890.1234") + n,
        "fixed": decimal.Decimal("99.05") - n,
        "day": datetime.date(2024, 2, 29),
        "clock": datetime.time(23, 59, 58, 123456),
        "at": datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, utc),
        "millis": datetime.datetime(2026, 1, 1, 0, 0, 0, 5000, utc),
        "local": datetime.datetime(2026, 1, 1, 10, 20, 30),
        "ref": uuid.UUID(int=n),
        "kind": "OLD" if n % 2 else "NEW",
        "tags": ["a", None, "b"][: n % 4],
        "attrs": {"k": n},
        "either": [None, n, f"t{n}"][n % 3],
        "inner": {"x": "NEW", "next": {"x": "OLD", "next": None}},
    }


def expected(n):
    import base64

    row = order(n)
    row["ratio"] = decimal.Decimal(repr(row["ratio"]))
    row["half"] = decimal.Decimal("0.5")
    row["raw"] = base64.b64encode(row["raw"]).decode()
    row["amount"], row["fixed"] = str(row["amount"]), str(row["fixed"])
    row["day"], row["clock"] = "2024-02-29", "23:59:58.123456"
    row["at"], row["millis"], row["local"] = "1969-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.005000Z", "2026-01-01T10:20:30"
    row["ref"] = str(row["ref"])
    return row


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2"])
def test_avro_of_every_type_and_codec_is_read_to_the_last_digit(connector, store, tmp_path, codec):
    path = tmp_path / "orders.avro"
    with open(path, "wb") as out:
        fastavro.writer(out, SCHEMA, [order(n) for n in range(1_000)], codec=codec, sync_interval=8_000)
    store[1].upload_file(str(path), BUCKET, f"avro/{codec}.avro")
    properties, rows = read(connector, store, tmp_path, f"avro/{codec}.avro", {"filetype": "avro"})
    assert rows == [expected(n) for n in range(1_000)]
    types = {name: [t for t in schema["type"] if t != "null"] for name, schema in properties.items()}
    assert types["id"] == ["integer"] and types["ratio"] == ["number"] and types["amount"] == ["string"]
    assert types["attrs"] == ["object"] and types["tags"] == ["array"] and types["either"] == ["integer", "string"]
    assert properties["at"]["airbyte_type"] == "timestamp_with_timezone"
    assert properties["clock"]["airbyte_type"] == "time_without_timezone"


def test_doubles_of_avro_are_text_on_request_and_damage_is_named(connector, store, tmp_path):
    schema = {"type": "record", "name": "R", "fields": [{"name": "d", "type": ["null", "double"]}]}
    path = tmp_path / "d.avro"
    with open(path, "wb") as out:
        fastavro.writer(out, schema, [{"d": 0.1}, {"d": None}])
    store[1].upload_file(str(path), BUCKET, "doubles/d.avro")
    wanted = {"filetype": "avro", "double_as_string": True}
    _, rows = read(connector, store, tmp_path, "doubles/d.avro", wanted)
    assert rows == [{"d": "0.1"}, {"d": None}]
    whole = path.read_bytes()
    for name, content in [("cut", whole[:-20]), ("garbage", b"Obj\x01" + bytes(200)), ("other", b"PAR1" * 50)]:
        store[1].put_object(Bucket=BUCKET, Key=f"bad/{name}.avro", Body=content)
        with pytest.raises(AssertionError) as fault:
            read(connector, store, tmp_path, f"bad/{name}.avro", {"filetype": "avro"})
        assert f"bad/{name}.avro" in str(fault.value) and "panicked" not in str(fault.value)


def test_s3_13_a_damaged_page_of_parquet_is_an_error_and_not_other_values(connector, store, tmp_path):
    table = pyarrow.table({"n": pyarrow.array(range(5_000), pyarrow.int64())})
    path = tmp_path / "n.parquet"
    pyarrow.parquet.write_table(table, path, use_dictionary=False, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    store[1].put_object(Bucket=BUCKET, Key="pages/whole.parquet", Body=bytes(content))
    _, rows = read(connector, store, tmp_path, "pages/whole.parquet", {"filetype": "parquet"})
    assert [row["n"] for row in rows] == list(range(5_000))
    place = content.index((2_500).to_bytes(8, "little"))
    content[place] ^= 1
    store[1].put_object(Bucket=BUCKET, Key="pages/damaged.parquet", Body=bytes(content))
    with pytest.raises(AssertionError) as fault:
        read(connector, store, tmp_path, "pages/damaged.parquet", {"filetype": "parquet"})
    assert "damaged" in str(fault.value) and "pages/damaged.parquet" in str(fault.value)


def test_s3_14_archives_of_an_independent_writer_are_read(connector, store, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"PK\x05\x06 is no end here"
        archive.writestr("deflated.csv", "id,v\n1,a\n2,b\n", zipfile.ZIP_DEFLATED)
        archive.writestr("stored.csv", "id,v\n3,Gr\u00fc\u00dfe\n", zipfile.ZIP_STORED)
        with archive.open("large/form.csv", "w", force_zip64=True) as member:
            member.write(b"id,v\n4,d\n")
    store[1].upload_file(str(path), BUCKET, "archives/a.zip")
    _, rows = read(connector, store, tmp_path, "archives/a.zip", {"filetype": "csv"})
    assert rows == [{"id": "1", "v": "a"}, {"id": "2", "v": "b"}, {"id": "3", "v": "Gr\u00fc\u00dfe"}, {"id": "4", "v": "d"}]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(70_000):
            archive.writestr(f"{number}.jsonl", f'{{"n":{number}}}')
    store[1].upload_file(str(path), BUCKET, "archives/many.zip")
    _, rows = read(connector, store, tmp_path, "archives/many.zip", {"filetype": "jsonl"})
    assert [row["n"] for row in rows] == list(range(70_000)), "more than four bytes can count"
