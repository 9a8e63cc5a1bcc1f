"""Runs on DuckDB what the stand-in for Dremio has translated. Requests and answers on stdin and stdout:
a length of four bytes, a JSON object, and behind an answer `body` bytes of an Arrow stream. What has no room in
memory goes to the folder that the first argument names."""

import datetime
import json
import struct
import sys

import duckdb
import pyarrow as pa

database = duckdb.connect(config={"temp_directory": sys.argv[1]})
for setting in ("threads = 2", "memory_limit = '1GB'", "autoinstall_known_extensions = false", "TimeZone = 'UTC'"):
    database.execute(f"SET {setting}")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def dremio_type(kind):
    """The Arrow type in which Dremio hands out a column."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ms")
    if pa.types.is_date(kind):
        return pa.date64()
    if pa.types.is_time(kind):
        return pa.time32("ms")
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if kind in (pa.int8(), pa.int16(), pa.uint8(), pa.uint16()):
        return pa.int32()
    if pa.types.is_decimal(kind) and kind.scale == 0 and kind.precision == 38:
        # What DuckDB makes of sums of integers.
        return pa.decimal128(38, 0)
    if pa.types.is_unsigned_integer(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_null(kind) else kind


def stream(table):
    schema = pa.schema([(field.name, dremio_type(field.type)) for field in table.schema])
    columns = []
    for column, field in zip(table.columns, schema):
        # Finer than a millisecond is cut off, as Dremio does.
        columns.append(column if column.type == field.type else column.cast(field.type, safe=False))
    table = pa.table(columns, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table, max_chunksize=4096)
    return sink.getvalue().to_pybytes()


def query(ask):
    return {}, stream(database.execute(ask["sql"]).fetch_arrow_table())


def shape(ask):
    return query({"sql": f"SELECT * FROM ({ask['sql']}) LIMIT 0"})


def plan(ask):
    database.execute("EXPLAIN " + ask["sql"])
    return {}, b""


def run(ask):
    """Statements that take effect together or not at all; the count of the last."""
    database.execute("BEGIN")
    count = None
    for check in ask.get("empty", []):
        if database.execute(check["sql"]).fetchone() is not None:
            raise ValueError(check["else"])
    for sql in ask["sql"]:
        row = database.execute(sql).fetchone()
        count = row[0] if row and isinstance(row[0], int) else None
    database.execute("COMMIT")
    return {"count": count}, b""


def plain(value):
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def rows(ask):
    return {"rows": [[plain(value) for value in row] for row in database.execute(ask["sql"]).fetchall()]}, b""


def columns_of(schema, table):
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE lower(schema_name) = lower(?) AND lower(table_name) = lower(?) ORDER BY column_index"
    return database.execute(sql, [schema, table]).fetchall()


def columns(ask):
    found = columns_of(ask["schema"], ask["table"])
    sql = "SELECT 1 FROM duckdb_views() WHERE lower(schema_name) = lower(?) AND lower(view_name) = lower(?)"
    view = database.execute(sql, [ask["schema"], ask["table"]]).fetchone() is not None
    return {"columns": [list(column) for column in found] if found else None, "view": view}, b""


def family(kind):
    kind = kind.upper()
    if kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
        return "integer"
    for start in ("DECIMAL", "TIMESTAMP", "TIME", "DATE", "VARCHAR", "BLOB", "BOOLEAN"):
        if kind.startswith(start):
            return start
    return "float" if kind in ("FLOAT", "DOUBLE") else kind


def cast(name, kind, wanted):
    # DuckDB has no way straight from a time with a zone to one of milliseconds.
    return f"CAST(CAST({name} AS TIMESTAMP) AS {wanted})" if "TIME ZONE" in kind.upper() else f"CAST({name} AS {wanted})"


WIDENS = {("integer", "float"), ("integer", "DECIMAL"), ("DATE", "TIMESTAMP")}


def copy(ask):
    """Parquet files into a table, by the names of columns, all or none."""
    table = f"{quoted(ask['schema'])}.{quoted(ask['table'])}"
    wanted = {name.lower(): (name, kind) for name, kind in columns_of(ask["schema"], ask["table"])}
    database.execute("BEGIN")
    inserted = 0
    for path in ask["files"]:
        reader = "read_parquet([?])"
        try:
            found = database.execute(f"DESCRIBE SELECT * FROM {reader}", [path]).fetchall()
        except duckdb.Error:
            raise ValueError(f"Unable to read the Parquet file {path.rsplit('/', 1)[-1]}") from None
        shared = [(name, kind) for name, kind, *_ in found if name.lower() in wanted]
        if not shared:
            raise ValueError("No column name matches target schema")
        for name, kind in shared:
            have, want = family(kind), family(wanted[name.lower()][1])
            if have != want and (have, want) not in WIDENS:
                raise ValueError(f"Cannot convert column {name} from {kind} to {wanted[name.lower()][1]}")
            if have in ("VARCHAR", "BLOB"):
                # By bytes, which DuckDB counts of blobs only.
                length = f"max(octet_length({quoted(name)}::BLOB))" if have == "BLOB" else f"max(octet_length(encode({quoted(name)})))"
                longest = database.execute(f"SELECT {length} FROM {reader}", [path]).fetchone()[0] or 0
                if longest > ask["field_limit"]:
                    raise ValueError(f"Field '{name}' exceeds the size limit of {ask['field_limit']} bytes.")
        names = ", ".join(quoted(wanted[name.lower()][0]) for name, _ in shared)
        values = ", ".join(cast(quoted(name), kind, wanted[name.lower()][1]) for name, kind in shared)
        inserted += database.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM {reader}", [path]).fetchone()[0]
    database.execute("COMMIT")
    return {"count": inserted}, b""


OPERATIONS = {"query": query, "shape": shape, "plan": plan, "run": run, "rows": rows, "columns": columns, "copy": copy}


def main():
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(head := stdin.read(4)) == 4:
        ask = json.loads(stdin.read(struct.unpack(">I", head)[0]))
        try:
            answer, body = OPERATIONS[ask["op"]](ask)
        except (duckdb.Error, ValueError, pa.ArrowException) as error:
            answer, body = {"error": str(error), "user": isinstance(error, ValueError)}, b""
            try:
                database.execute("ROLLBACK")
            except duckdb.Error:
                pass
        answer["body"] = len(body)
        text = json.dumps(answer).encode()
        stdout.write(struct.pack(">I", len(text)) + text + body)
        stdout.flush()


main()
