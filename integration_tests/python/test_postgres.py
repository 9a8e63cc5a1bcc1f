"""PyAirbyte reads a real PostgreSQL through source-postgres, unmodified.

The server is started here from Debian's package, as the Rust tests do.
"""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import airbyte as ab
import pytest

PASSWORD = "known to the test only"


def as_postgres(command):
    """The server refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if getpass.getuser() == "root" else command


class Server:
    def __init__(self, folder: Path):
        self.bin = Path(next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), "/usr/lib/postgresql/15/bin"))
        assert (self.bin / "initdb").exists(), "PostgreSQL is not installed; `cargo xtask test` installs it"
        self.data = folder / "data"
        self.data.mkdir()
        password = folder / "password"
        password.write_text(PASSWORD)
        if getpass.getuser() == "root":
            shutil.chown(self.data, "postgres")
            shutil.chown(password, "postgres")
            folder.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        initdb = [self.bin / "initdb", "-D", self.data, "-A", "scram-sha-256", "-U", "postgres", f"--pwfile={password}", "--no-sync"]
        subprocess.run(as_postgres(initdb), check=True, capture_output=True, timeout=60)
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\nwal_level=logical\nfsync=off\n")
        self.process = subprocess.Popen(
            as_postgres([self.bin / "postgres", "-D", self.data]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run("SELECT 1")
                return
            except subprocess.CalledProcessError:
                assert time.monotonic() < deadline, "PostgreSQL did not come up"
                time.sleep(0.1)

    def run(self, sql: str):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", sql]
        subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, "PGPASSWORD": PASSWORD})

    def stop(self):
        stop = [self.bin / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"]
        subprocess.run(as_postgres(stop), capture_output=True, timeout=60)
        self.process.wait(timeout=60)


@pytest.fixture
def server():
    # Below the tests' own folder others may not look.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Server(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def source(connector, server, **config):
    return ab.get_source(
        "source-postgres",
        local_executable=connector("source-postgres"),
        config={
            "host": "127.0.0.1",
            "port": server.port,
            "database": "postgres",
            "username": "postgres",
            "password": PASSWORD,
            "ssl_mode": {"mode": "disable"},
            **config,
        },
        streams="*",
    )


def cache(tmp_path):
    return ab.DuckDBCache(db_path=tmp_path / "cache.duckdb", schema_name="main")


TABLE = """
CREATE TABLE people (id int PRIMARY KEY, name text, seen timestamptz, amount numeric(12,2), tags text[]);
INSERT INTO people SELECT i, 'person ' || i, timestamptz '2024-01-01Z' + i * interval '1 hour', i / 3.0, ARRAY['a', i::text]
FROM generate_series(1, 500) i;
"""


def test_a_full_refresh_is_read(connector, server):
    server.run(TABLE)
    postgres = source(connector, server)
    postgres.check()
    people = postgres.get_records("people")
    rows = [dict(row) for row in people]
    assert sorted(row["id"] for row in rows) == list(range(1, 501))


@pytest.mark.parametrize("method", ["Xmin", "CDC"])
def test_two_incremental_reads_with_its_own_state(connector, server, tmp_path, method):
    server.run(TABLE)
    config = {"replication_method": {"method": "Xmin"}}
    if method == "CDC":
        server.run("CREATE PUBLICATION p FOR ALL TABLES")
        server.run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        config = {"replication_method": {"method": "CDC", "replication_slot": "s", "publication": "p"}}
    postgres = source(connector, server, **config)
    kept = cache(tmp_path)
    first = postgres.read(cache=kept)
    assert first.processed_records == 500
    server.run("UPDATE people SET name = 'changed' WHERE id <= 10; INSERT INTO people VALUES (501, 'new', now(), 1, NULL)")
    second = postgres.read(cache=kept)
    names = {row["id"]: row["name"] for row in second["people"]}
    assert len(names) == 501
    assert [names[i] for i in (1, 10, 11, 501)] == ["changed", "changed", "person 11", "new"]
    if method == "Xmin":
        # PyAirbyte does not hand a GLOBAL state back on its second cached read.
        assert second.processed_records == 11
