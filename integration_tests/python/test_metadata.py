"""Our metadata and our registry file against the schemas that Airbyte publishes for both."""

import json
import subprocess
from importlib.resources import files

import jsonschema
import pytest
import yaml
from conftest import BIN, ROOT

CONNECTORS = sorted(path.parent.name for path in (ROOT / "connectors").glob("*/Cargo.toml"))


def schema(name: str) -> dict:
    text = (files("airbyte_connector_models.metadata.v0") / f"{name}.json").read_text()

    def without_ids(node, top=True):
        # Parts that were put together keep ids of their own, which their references do not go by.
        if isinstance(node, dict):
            return {key: without_ids(value, False) for key, value in node.items() if top or key != "$id"}
        return [without_ids(value, False) for value in node] if isinstance(node, list) else node

    return without_ids(json.loads(text))


def faults(name: str, document) -> list[str]:
    checker = jsonschema.Draft7Validator(schema(name), format_checker=jsonschema.FormatChecker())
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in checker.iter_errors(document)]


@pytest.mark.parametrize("name", CONNECTORS)
def test_metadata_fits(name):
    text = (ROOT / "connectors" / name / "metadata.yaml").read_text()
    document = yaml.safe_load(text)
    assert faults("ConnectorMetadataDefinitionV0", document) == []
    del document["data"]["license"]
    assert faults("ConnectorMetadataDefinitionV0", document) != []


def test_the_registry_file_fits(tmp_path):
    out = tmp_path / "registry.json"
    command = [str(BIN / "xtask"), "registry", "--profile", "dev", "--out", str(out)]
    subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    registry = json.loads(out.read_text())
    assert faults("ConnectorRegistryV0", registry) == []
    listed = [entry["dockerRepository"].split("/")[-1] for entries in registry.values() for entry in entries]
    assert sorted(listed) == CONNECTORS
    del registry["destinations"][0]["spec"]
    assert faults("ConnectorRegistryV0", registry) != []
