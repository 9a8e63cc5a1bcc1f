"""A PostgreSQL of Debian's package for one test, as the Rust tests start it."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

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

    def run(self, sql: str) -> str:
        """What the statements print: a line a row, columns parted by `|`."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", sql]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
        return done.stdout.rstrip("\n")

    def stop(self):
        stop = [self.bin / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"]
        subprocess.run(as_postgres(stop), capture_output=True, timeout=60)
        self.process.wait(timeout=60)
