"""Servers that speak Flight SQL, for one test each: the stand-in for Dremio, and roapi, which has nothing of ours."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

USER = "dremio_user"
PASSWORD = 'the dremio user\'s: p&ss"w%rd'
TOKEN = "pat+that/must-appear=nowhere=="
# Longer than a start takes on a busy machine.
PATIENCE = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class StandIn:
    def __init__(self, program: str, folder: Path, *options: str):
        ready = folder / "ready"
        self.process = subprocess.Popen(
            [program, sys.executable, ready, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + PATIENCE
        while not ready.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "the stand-in did not come up"
            time.sleep(0.05)
        port, store, certificate = ready.read_text().splitlines()
        self.port, self.store, self.certificate = int(port), Path(store), Path(certificate)

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == "ok", answer

    def fault(self, text: str, fault: str, **more):
        self.order(do="fault", text=text, fault=fault, **more)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


class Roapi:
    USER = "dremio"
    PASSWORD = "known to the test only"

    def __init__(self, folder: Path):
        self.port = free_port()
        table = folder / "t.csv"
        table.write_text("id,name\n1,one\n2,two\n")
        config = {
            "addr": {
                # All three, or it takes its defaults, PostgreSQL's port among them.
                "http": f"127.0.0.1:{free_port()}",
                "postgres": f"127.0.0.1:{free_port()}",
                "flight_sql": f"127.0.0.1:{self.port}",
            },
            "flight_sql_config": {"auth_basic": {"username": self.USER, "password": self.PASSWORD}},
            "tables": [{"name": "t", "uri": str(table)}],
        }
        path = folder / "roapi.yml"
        path.write_text(json.dumps(config))
        program = Path(sys.executable).parent / "roapi"
        self.process = subprocess.Popen([program, "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, "roapi did not come up"
            time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait(timeout=PATIENCE)
