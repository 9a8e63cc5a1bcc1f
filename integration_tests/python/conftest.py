"""Where the built connectors are, and nothing said to anybody outside this machine."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before anything imports airbyte.
os.environ["AIRBYTE_OFFLINE_MODE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"

ROOT = Path(os.environ.get("FERRYBYTE_ROOT", Path(__file__).resolve().parents[2]))
BIN = Path(os.environ.get("FERRYBYTE_BIN", ROOT / "target" / "debug"))
# `source-smoke-test` and others are looked up by name.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import pytest  # noqa: E402
from postgres_server import Server  # noqa: E402


@pytest.fixture(scope="session")
def connector():
    """The path of a built connector, by name."""

    def path(name: str) -> str:
        built = BIN / name
        assert built.exists(), f"{built} is not built; run `cargo xtask test`"
        return str(built)

    return path


@pytest.fixture(scope="session")
def earthquakes() -> Path:
    return ROOT / "examples" / "earthquakes" / "earthquakes.csv"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Caches and logs of one test are not another's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRBYTE_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("AIRBYTE_CACHE_ROOT", str(tmp_path))
    monkeypatch.setenv("AIRBYTE_LOGGING_ROOT", str(tmp_path / "logs"))


@pytest.fixture
def server():
    # Below the tests' own folder others may not look.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Server(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
