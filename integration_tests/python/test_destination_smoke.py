"""PyAirbyte's own scenarios for destinations: types, names, nulls, wide and empty streams."""

import json
import subprocess
import sys
from pathlib import Path


def test_every_scenario_is_written(connector, tmp_path):
    command = [
        str(Path(sys.executable).parent / "pyab"),
        "destination-smoke-test",
        "--destination",
        connector("destination-local"),
        "--config",
        json.dumps({"destination_path": str(tmp_path / "lake")}),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    written = [f for f in (tmp_path / "lake").rglob("*.parquet")]
    assert len(written) >= 15, f"only {len(written)} files: {done.stdout[-4000:]}"
