#!/usr/bin/env python3
"""A source that counts. Config: rows, step (rows from one state to the next), keys (the stream's key is `id % keys`), pad
(bytes that make the first state large, so that destinations cannot wait with it)."""
import json, sys

def arg(name):
    return json.load(open(sys.argv[sys.argv.index(name) + 1])) if name in sys.argv else None

def emit(message):
    sys.stdout.write(json.dumps(message) + "\n")

command = sys.argv[1]
if command == "spec":
    emit({"type": "SPEC", "spec": {"connectionSpecification": {"type": "object", "properties": {}}}})
    sys.exit()
config = arg("--config")
if command == "check":
    emit({"type": "CONNECTION_STATUS", "connectionStatus": {"status": "SUCCEEDED"}})
elif command == "discover":
    integer = {"type": "integer"}
    emit({"type": "CATALOG", "catalog": {"streams": [{
        "name": "counted", "json_schema": {"type": "object", "properties": {"id": integer, "key": integer, "text": {"type": "string"}}},
        "supported_sync_modes": ["full_refresh", "incremental"]}]}})
else:
    stream = arg("--catalog")["streams"][0]
    state = arg("--state")
    at = state[0]["stream"]["stream_state"].get("at", 0) if state and stream["sync_mode"] == "incremental" else 0
    name = {"name": "counted"}
    status = lambda word: emit({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.0, "stream_status": {"stream_descriptor": name, "status": word}}})
    status("STARTED")
    while True:
        end = min(at + config["step"], config["rows"])
        for n in range(at, end):
            emit({"type": "RECORD", "record": {"stream": "counted", "emitted_at": 1700000000000 + n,
                "data": {"id": n, "key": n % config["keys"], "text": "row %d" % n}}})
        emit({"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": name,
            "stream_state": {"at": end, "pad": "x" * (config["pad"] if end == config["step"] else 0)}}, "sourceStats": {"recordCount": float(end - at)}}})
        at = end
        if at == config["rows"]:
            break
    status("COMPLETE")
