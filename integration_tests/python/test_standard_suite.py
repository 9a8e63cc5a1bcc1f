"""The official suite for sources (airbyte-cdk's standard tests), with its runner replaced
by one that starts our binaries."""

import json
import subprocess
import tempfile
from pathlib import Path

from airbyte_cdk.test import entrypoint_wrapper
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase

from conftest import BIN, ROOT


class Connector:
    """What the suite hands to its runner: a class that knows its executable."""

    executable = ""

    def spec(self, logger):
        raise NotImplementedError("the executable is asked instead")


def run(source, args, *_, **__):
    connector = source if isinstance(source, type) else type(source)
    command = [connector.executable, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    failure = None
    if done.returncode != 0:
        failure = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return entrypoint_wrapper.EntrypointOutput(
        messages=done.stdout.splitlines(), uncaught_exception=failure, command=args
    )


entrypoint_wrapper._run_command = run


def folder(good: dict, bad: dict) -> Path:
    """A connector's folder as the suite wants it: its test config and two configs."""
    top = Path(tempfile.mkdtemp(prefix="standard-suite-"))
    (top / "good.json").write_text(json.dumps(good))
    (top / "bad.json").write_text(json.dumps(bad))
    tests = {
        "connector_image": "none",
        "acceptance_tests": {
            "spec": {"tests": [{"config_path": "good.json"}]},
            "connection": {
                "tests": [
                    {"config_path": "good.json", "status": "succeed"},
                    {"config_path": "bad.json", "status": "failed"},
                ]
            },
            "discovery": {"tests": [{"config_path": "good.json"}]},
            "basic_read": {"tests": [{"config_path": "good.json"}]},
        },
    }
    # JSON is YAML.
    (top / "acceptance-test-config.yml").write_text(json.dumps(tests))
    (top / "metadata.yaml").write_text(json.dumps({"data": {"dockerRepository": "none"}}))
    return top


class Faker(Connector):
    executable = str(BIN / "source-faker")


class File(Connector):
    executable = str(BIN / "source-file")


FAKER = folder({"count": 50, "seed": 3}, {"count": "many"})
EARTHQUAKES = {
    "dataset_name": "earthquakes",
    "format": "csv",
    "url": str(ROOT / "examples/earthquakes/earthquakes.csv"),
    "provider": {"storage": "local"},
}
FILE = folder(EARTHQUAKES, {**EARTHQUAKES, "url": str(ROOT / "examples/no-such-file.csv")})


class TestSourceFaker(SourceTestSuiteBase):
    connector = Faker

    @classmethod
    def get_connector_root_dir(cls):
        return FAKER


class TestSourceFile(SourceTestSuiteBase):
    connector = File

    @classmethod
    def get_connector_root_dir(cls):
        return FILE
