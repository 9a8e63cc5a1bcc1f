"""The stand-in for Dremio and roapi, driven by a Flight SQL client that is not ours: what it takes to be a
server, ours is, before our connector relies on it."""

import datetime
import decimal
import json
import math
import subprocess

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adbc_driver_flightsql import DatabaseOptions
from conftest import BIN, ROOT
from dremio_server import PASSWORD, TOKEN, USER, Roapi, StandIn
from test_parquet import file_source, sync

# The tests' own client gives up by then.
TIMEOUTS = {f"adbc.flight.sql.rpc.timeout_seconds.{call}": "30" for call in ("fetch", "query", "update")}


def connect(port, user=USER, password=PASSWORD, scheme="grpc", **more):
    options = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true", **more}
    if user is not None:
        options |= {"username": user, "password": password}
    return adbc_driver_flightsql.dbapi.connect(
        f"{scheme}://127.0.0.1:{port}", db_kwargs=options, conn_kwargs=TIMEOUTS, autocommit=True
    )


def run(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table().to_pylist()


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(*options):
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        servers.append(StandIn(str(BIN / "dremio-stand-in"), folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def dremio(start):
    return start()


@pytest.fixture
def client(dremio):
    with connect(dremio.port) as connection:
        yield connection


@pytest.mark.parametrize("user, password", [(USER, "wrong"), ("nobody", PASSWORD), (USER, ""), (None, None)])
def test_who_is_not_known_gets_nothing(dremio, user, password):
    with pytest.raises(adbc_driver_manager.Error, match="(?i)unauthenticated"):
        with connect(dremio.port, user, password) as connection:
            run(connection, "SELECT 1")


def test_a_token_is_as_good_as_a_password(dremio):
    with connect(dremio.port, password=TOKEN) as connection:
        assert run(connection, "SELECT 1 AS one") == [{"one": 1}]
    bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}
    with connect(dremio.port, user=None, **bearer) as connection:
        assert run(connection, "SELECT 1 AS one") == [{"one": 1}]


def test_a_client_without_cookies_is_refused_where_they_are_demanded(start):
    server = start("--demand-cookies")
    with connect(server.port) as connection:
        assert run(connection, "SELECT 1 AS one") == [{"one": 1}]
    with pytest.raises(adbc_driver_manager.Error, match="(?i)cookie"):
        with connect(server.port, **{DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "false"}) as connection:
            run(connection, "SELECT 1")


def test_tls_is_verified(start):
    server = start("--tls")
    roots = {DatabaseOptions.TLS_ROOT_CERTS.value: server.certificate.read_text()}
    with connect(server.port, scheme="grpc+tls", **roots) as connection:
        assert run(connection, "SELECT 1 AS one") == [{"one": 1}]
    with pytest.raises(adbc_driver_manager.Error):
        with connect(server.port, scheme="grpc+tls") as connection:
            run(connection, "SELECT 1")


def test_every_type_comes_back_as_it_went_in(client):
    assert run(client, "CREATE TABLE lake.a.t (i INT, b BIGINT, f FLOAT, d DOUBLE, n DECIMAL(38, 9), y BOOLEAN, s VARCHAR, "
               "x VARBINARY, \"day\" DATE, \"at\" TIME, ts TIMESTAMP)")[0]["ok"] is True
    assert run(client, "INSERT INTO lake.a.t (i, b, f, d, n, y, s, \"day\", \"at\", ts) VALUES "
               "(1, -9223372036854775808, 0.5, 1e300, CAST('12345678901234567890123456789.123456789' AS DECIMAL(38, 9)), TRUE, "
               "'it''s \"é\" 漢字 🚢', DATE '1969-12-31', TIME '23:59:59.999', TIMESTAMP '2024-02-29 12:00:00.123'), "
               "(2, NULL, NULL, CAST('NaN' AS DOUBLE), NULL, NULL, '', NULL, NULL, NULL)") == [{"Records": 2}]
    with client.cursor() as cursor:
        cursor.execute("SELECT * FROM lake.a.t ORDER BY i")
        table = cursor.fetch_arrow_table()
    kinds = [pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(38, 9), pa.bool_(), pa.string(), pa.binary(),
             pa.date64(), pa.time32("ms"), pa.timestamp("ms")]
    assert [field.type for field in table.schema] == kinds
    one, two = table.to_pylist()
    assert one == {
        "i": 1, "b": -(2**63), "f": 0.5, "d": 1e300, "n": decimal.Decimal("12345678901234567890123456789.123456789"), "y": True,
        "s": 'it\'s "é" 漢字 🚢', "x": None, "day": datetime.date(1969, 12, 31), "at": datetime.time(23, 59, 59, 999000),
        "ts": datetime.datetime(2024, 2, 29, 12, 0, 0, 123000),
    }
    assert math.isnan(two.pop("d")) and two.pop("s") == "" and two.pop("i") == 2
    assert set(two.values()) == {None}


def test_rows_are_merged_changed_and_deleted(client):
    run(client, 'CREATE TABLE lake.a.t (id BIGINT, "Value" VARCHAR)')
    run(client, "INSERT INTO lake.a.t VALUES (1, 'old'), (2, 'two')")
    run(client, "CREATE TABLE lake.a.fresh AS SELECT 1 AS id, 'new' AS v UNION ALL SELECT 3, 'three'")
    merge = ("MERGE INTO lake.a.t AS t USING (SELECT id, v FROM lake.a.fresh) AS s ON (t.id = s.id) "
             'WHEN MATCHED THEN UPDATE SET "Value" = s.v WHEN NOT MATCHED THEN INSERT (id, "Value") VALUES (s.id, s.v)')
    assert run(client, merge) == [{"Records": 2}]
    run(client, "UPDATE lake.a.t SET \"Value\" = 'II' WHERE id = 2")
    assert [tuple(row.values()) for row in run(client, "SELECT * FROM lake.a.t ORDER BY id")] == [(1, "new"), (2, "II"), (3, "three")]
    assert run(client, "DELETE FROM lake.a.t AS t USING lake.a.fresh AS f WHERE t.id = f.id AND f.v = 'three'") == [{"Records": 1}]
    run(client, "INSERT INTO lake.a.fresh SELECT 1, 'again'")
    with pytest.raises(adbc_driver_manager.Error, match="more than once"):
        run(client, merge)
    assert run(client, "SELECT COUNT(*) AS n FROM lake.a.t") == [{"n": 2}]


def test_tables_and_views_are_defined_and_found(dremio, client):
    run(client, "CREATE TABLE IF NOT EXISTS lake.a.t (id BIGINT)")
    run(client, "CREATE TABLE IF NOT EXISTS lake.a.t (id BIGINT)")
    run(client, "ALTER TABLE lake.a.t ADD COLUMNS (price DECIMAL(10, 2), \"day\" DATE)")
    run(client, "CREATE VIEW space.v AS SELECT id FROM lake.a.t")
    run(client, "CREATE OR REPLACE VIEW space.v AS SELECT id, price FROM lake.a.t")
    columns = run(client, "SELECT COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION FROM INFORMATION_SCHEMA.COLUMNS "
                  "WHERE TABLE_SCHEMA = 'lake.a' AND TABLE_NAME = 't' ORDER BY ORDINAL_POSITION")
    assert [tuple(column.values()) for column in columns] == [("id", "BIGINT", 64), ("price", "DECIMAL", 10), ("day", "DATE", None)]
    found = client.adbc_get_objects(depth="columns").read_all().to_pylist()
    tables = {
        (schema["db_schema_name"], table["table_name"], table["table_type"], tuple(c["column_name"] for c in table["table_columns"]))
        for catalog in found for schema in catalog["catalog_db_schemas"] or [] for table in schema["db_schema_tables"] or []
    }
    assert ("lake.a", "t", "TABLE", ("id", "price", "day")) in tables
    assert ("space", "v", "VIEW", ("id", "price")) in tables
    assert client.adbc_get_info()["vendor_name"] == "Dremio Server"
    run(client, "TRUNCATE TABLE lake.a.t")
    run(client, "DROP VIEW space.v")
    run(client, "DROP TABLE lake.a.t")
    assert run(client, "SELECT * FROM INFORMATION_SCHEMA.\"TABLES\"") == []


def test_a_session_keeps_its_schema_by_its_cookie(dremio):
    schema = {f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}schema": 'lake."my folder"'}
    with connect(dremio.port, **schema) as connection:
        run(connection, "CREATE TABLE t (id BIGINT)")
        run(connection, "WITH t2 AS (SELECT id FROM t) SELECT * FROM t2")
    with connect(dremio.port) as connection:
        assert run(connection, 'SELECT COUNT(*) AS n FROM lake."my folder".t') == [{"n": 0}]


def test_parquet_files_are_copied_by_the_names_of_their_columns(dremio, client):
    folder = dremio.store / "stage" / "batch 1"
    folder.mkdir(parents=True)
    at = pa.array([datetime.datetime(2024, 2, 29, 12, 0, 0, 123456)], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"S": ["one"], "extra": [1], "id": [1], "ts": at}), folder / "1.parquet")
    pq.write_table(pa.table({"id": [2, 3]}), folder / "2.parquet")
    run(client, "CREATE TABLE store.a.t (id BIGINT, s VARCHAR, ts TIMESTAMP)")
    copy = "COPY INTO store.a.t FROM '@store/stage/batch 1' {} FILE_FORMAT 'parquet' (ON_ERROR 'abort')"
    assert run(client, copy.format("FILES ('1.parquet')")) == [{"Rows Inserted": 1, "Rejected Records": 0}]
    assert run(client, copy.format("")) == [{"Rows Inserted": 3, "Rejected Records": 0}]
    rows = run(client, "SELECT id, s, ts FROM store.a.t ORDER BY id")
    stamp = datetime.datetime(2024, 2, 29, 12, 0, 0, 123000)
    assert [tuple(row.values()) for row in rows] == [(1, "one", stamp), (1, "one", stamp), (2, None, None), (3, None, None)]
    pq.write_table(pa.table({"id": ["4"]}), folder / "3.parquet")
    for wrong, why in [("FILES ('3.parquet')", "convert"), ("FILES ('4.parquet')", "not found"), ("", "convert")]:
        with pytest.raises(adbc_driver_manager.Error, match=why):
            run(client, copy.format(wrong))
    assert run(client, "SELECT COUNT(*) AS n FROM store.a.t") == [{"n": 4}]


REFUSED = [
    "CREATE TABLE lake.a.u (id TEXT)",
    "CREATE TABLE lake.a.u (value BIGINT)",
    "CREATE TABLE lake.a.u (id BIGINT, ID BIGINT)",
    "CREATE TABLE nowhere.a.u (id BIGINT)",
    "CREATE TABLE space.u (id BIGINT)",
    "CREATE TABLE lake.a.t (id BIGINT)",
    "CREATE OR REPLACE TABLE lake.a.t (id BIGINT)",
    "CREATE VIEW store.v AS SELECT 1 AS one",
    "ALTER TABLE lake.a.t RENAME TO u",
    "ALTER TABLE lake.a.t ADD COLUMNS (ID BIGINT)",
    "DROP TABLE lake.a.u",
    "DROP VIEW lake.a.t",
    "BEGIN",
    "SELECT 1;",
    "SELECT id::VARCHAR FROM lake.a.t",
    "SELECT * FROM lake.a.t WHERE id = ?",
    "SELECT list_value(id) FROM lake.a.t",
    "SELECT * FROM lake.a.u",
    "SELECT nothing FROM lake.a.t",
    "INSERT INTO lake.a.t (id) VALUES ('1')",
    "INSERT INTO lake.a.t (id) VALUES (1.5)",
    "INSERT INTO lake.a.t (id) VALUES (9223372036854775808)",
    "INSERT INTO lake.a.t (ts) VALUES ('2024-01-01 00:00:00')",
    "INSERT INTO lake.a.t (ts) VALUES (TIMESTAMP '2024-01-01T00:00:00')",
    "INSERT INTO lake.a.t (ts) VALUES (TIMESTAMP '2024-01-01 00:00:00.1234')",
    "INSERT INTO lake.a.t (n) VALUES (12345678901234567890.5)",
    "INSERT INTO lake.a.t (id, s) VALUES (1)",
    "INSERT INTO lake.a.t (other) VALUES (1)",
    f"INSERT INTO lake.a.t (s) VALUES ('{'x' * 32001}')",
    "INSERT INTO lake.a.t (id) VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO lake.a.t (id) VALUES (1) RETURNING id",
    "MERGE INTO lake.a.t AS t USING lake.a.t AS s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "MERGE INTO lake.a.t AS t USING lake.a.t AS s ON t.id = s.id WHEN MATCHED AND s.id = 1 THEN UPDATE SET id = 2",
    "MERGE INTO lake.a.t AS t USING lake.a.t AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET t.id = 2",
    "COPY INTO lake.a.t FROM 'store/x' FILE_FORMAT 'parquet'",
    "COPY INTO lake.a.t FROM '@store/x' FILE_FORMAT 'parquet'",
    "COPY INTO lake.a.t FROM '@store/../x' FILES ('passwd') FILE_FORMAT 'parquet'",
]


def test_what_dremio_does_not_have_is_refused(client):
    run(client, "CREATE TABLE lake.a.t (id BIGINT, s VARCHAR, ts TIMESTAMP, n DECIMAL(38, 9))")
    for sql in REFUSED:
        with pytest.raises(adbc_driver_manager.Error) as refused:
            run(client, sql)
            pytest.fail(f"taken: {sql}")
        assert "ERROR: " in str(refused.value), sql
    assert run(client, "SELECT COUNT(*) AS n FROM lake.a.t") == [{"n": 0}]


def test_bulk_ingest_and_parameters_are_not_implemented(client):
    run(client, "CREATE TABLE lake.a.t (id BIGINT)")
    with client.cursor() as cursor, pytest.raises(adbc_driver_manager.NotSupportedError):
        cursor.adbc_ingest("t", pa.table({"id": [1]}), mode="append", db_schema_name="lake.a")
    with client.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.NotSupportedError):
            cursor.adbc_statement.set_sql_query("INSERT INTO lake.a.t VALUES (1)")
            cursor.adbc_statement.execute_update()
    assert run(client, "SELECT COUNT(*) AS n FROM lake.a.t") == [{"n": 0}]


def test_updates_are_counted_where_they_are_taken(start):
    server = start("--updates")
    with connect(server.port) as connection, connection.cursor() as cursor:
        run(connection, "CREATE TABLE lake.a.t (id BIGINT)")
        cursor.adbc_statement.set_sql_query("INSERT INTO lake.a.t VALUES (1), (2)")
        assert cursor.adbc_statement.execute_update() == 2


@pytest.mark.parametrize("fault, rows, runs", [("cut_before", 0, 0), ("cut_after", 1, 1), ("cut_then_run", 1, 1)])
def test_a_cut_connection_says_nothing_about_what_became_of_a_statement(dremio, client, fault, rows, runs):
    run(client, "CREATE TABLE lake.a.t (id BIGINT)")
    dremio.fault("insert into", fault, ms=300)
    with pytest.raises(adbc_driver_manager.Error):
        run(client, "INSERT INTO lake.a.t VALUES (1)")
    with connect(dremio.port) as again:
        jobs = "SELECT status FROM sys.jobs_recent WHERE query LIKE 'INSERT%'"
        while any(job["status"] == "RUNNING" for job in run(again, jobs)):
            pass
        assert run(again, "SELECT COUNT(*) AS n FROM lake.a.t") == [{"n": rows}]
        assert len(run(again, jobs)) == runs


@pytest.mark.parametrize(
    "fault, kind, text",
    [
        ("unavailable", adbc_driver_manager.OperationalError, "RESOURCE"),
        ("conflict", adbc_driver_manager.OperationalError, "CONCURRENT_MODIFICATION"),
        ("asleep", adbc_driver_manager.OperationalError, "Workload Manager"),
        ("quota", adbc_driver_manager.Error, "Too many"),
        ("denied", adbc_driver_manager.Error, "PERMISSION"),
    ],
)
@pytest.mark.parametrize("stage", ["planned", "run"])
def test_a_fault_is_met_once_and_the_statement_has_not_run(dremio, client, fault, kind, text, stage):
    run(client, "CREATE TABLE lake.a.t (id BIGINT)")
    dremio.fault("INSERT INTO", fault, stage=stage)
    with pytest.raises(kind, match=text):
        run(client, "INSERT INTO lake.a.t VALUES (1)")
    assert run(client, "SELECT COUNT(*) AS n FROM lake.a.t") == [{"n": 0}]
    assert run(client, "INSERT INTO lake.a.t VALUES (1)") == [{"Records": 1}]


def test_tokens_expire(dremio, client):
    assert run(client, "SELECT 1 AS one") == [{"one": 1}]
    dremio.order(do="expire")
    with pytest.raises(adbc_driver_manager.Error, match="(?i)unauthenticated"):
        run(client, "SELECT 1")
    dremio.order(do="lifetime", calls=4)
    with pytest.raises(adbc_driver_manager.Error, match="(?i)expired"):
        with connect(dremio.port) as connection:
            for _ in range(4):
                run(connection, "SELECT 1")


@pytest.fixture
def roapi(tmp_path):
    server = Roapi(tmp_path)
    yield server
    server.stop()


def test_roapi_is_a_peer_for_log_in_definitions_inserts_and_reads(roapi):
    for user, password in [(Roapi.USER, "wrong"), ("nobody", Roapi.PASSWORD), (None, None)]:
        with pytest.raises(adbc_driver_manager.Error, match="(?i)unauthenticated"):
            with connect(roapi.port, user, password) as connection:
                run(connection, "SELECT 1")
    with connect(roapi.port, Roapi.USER, Roapi.PASSWORD) as connection:
        assert run(connection, "SELECT name FROM t WHERE id = 2") == [{"name": "two"}]
        run(connection, 'CREATE TABLE u (id BIGINT, "Value" VARCHAR)')
        run(connection, "INSERT INTO u VALUES (1, 'it''s'), (2, NULL)")
        rows = run(connection, 'SELECT id, "Value" FROM u ORDER BY id')
        assert [tuple(row.values()) for row in rows] == [(1, "it's"), (2, None)]


def destination(server, **more):
    config = {"host": "127.0.0.1", "port": server.port, "username": USER, "password": PASSWORD, "project": "lake",
              "dataset": "production", "ssl": False, "connection_type": "Arrow Flight", **more}
    return {"connector": "destination-dremio", "config": config}


def written(connection, sql):
    return [tuple(row.values()) for row in run(connection, sql)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file_source(path, format="jsonl")


def test_ferry_overwrites_appends_and_deduplicates(tmp_path, dremio, client):
    rows = [{"id": n, "price": n / 4, "name": f"it's № {n}", "day": "2024-02-29", "tags": [n, None]} for n in range(500)]
    for mode, counts in [("overwrite", [500, 400]), ("append", [500, 900]), ("append_dedup", [500, 500])]:
        stream = {"name": mode, "destination_sync_mode": mode}
        if mode == "append_dedup":
            stream["primary_key"] = [["id"]]
        table = f"lake.production.{mode}"
        for count, part in zip(counts, [rows, [{**row, "name": "again"} for row in rows[100:]]]):
            source = jsonl(tmp_path / "rows.jsonl", part)
            source["config"]["dataset_name"] = mode
            report = sync(tmp_path, source, destination(dremio), [stream])
            assert report["streams"][0]["committed"] == len(part), report
            assert written(client, f"SELECT COUNT(*), COUNT(DISTINCT id) FROM {table}") == [(count, min(count, 500))]
        found = written(client, f"SELECT price, name, tags FROM {table} WHERE id = 7 OR id = 499 ORDER BY id, name")
        assert (499 / 4, "again", "[499, null]") in found
        assert ((7 / 4, "it's № 7", "[7, null]") in found) == (mode != "overwrite")


def test_ferry_writes_generated_rows_over_tls(tmp_path, start):
    server = start("--tls", "--demand-cookies")
    source = {"connector": "source-faker", "config": {"count": 300, "seed": 7}}
    more = {"host": "localhost", "ssl": True, "ca_certificate": server.certificate.read_text()}
    report = sync(tmp_path, source, destination(server, **more))
    roots = {DatabaseOptions.TLS_ROOT_CERTS.value: server.certificate.read_text()}
    with connect(server.port, scheme="grpc+tls", **roots) as connection:
        tables = run(connection, "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.\"TABLES\" WHERE TABLE_NAME NOT LIKE '%\\_\\_ferry%' ESCAPE '\\'")
        counts = [written(connection, f"SELECT COUNT(*) FROM lake.production.\"{table['TABLE_NAME']}\"")[0][0] for table in tables]
    committed = sorted(stream["committed"] for stream in report["streams"])
    assert counts and sorted(counts) == committed, (tables, report)


def test_the_connectors_check_makes_fills_reads_and_drops_a_table_in_roapi(tmp_path, roapi):
    config = {"host": "127.0.0.1", "port": roapi.port, "username": Roapi.USER, "password": "wrong", "dataset": "public"}

    def check():
        (tmp_path / "config.json").write_text(json.dumps(config))
        command = [BIN / "destination-dremio", "check", "--config", tmp_path / "config.json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        [status] = [line for line in map(json.loads, done.stdout.splitlines()) if line["type"] == "CONNECTION_STATUS"]
        return status["connectionStatus"]

    refused = check()
    assert refused["status"] == "FAILED" and "`password`" in refused["message"]
    config["password"] = Roapi.PASSWORD
    assert check()["status"] == "SUCCEEDED"
