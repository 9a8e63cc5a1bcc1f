#!/usr/bin/env python3
"""A source that counts. Config: rows, step (rows from one state to the next), keys (the stream's key is `id % keys`), pad
(bytes that make the first state large, so that destinations cannot wait with it), wide (bytes that make each row before
that state large), global (two streams, `counted` and `again`, that take turns and share their states)."""
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
    names = ["counted", "again"] if config.get("global") else ["counted"]
    emit({"type": "CATALOG", "catalog": {"streams": [{
        "name": name, "json_schema": {"type": "object", "properties": {"id": integer, "key": integer, "text": {"type": "string"}}},
        "supported_sync_modes": ["full_refresh", "incremental"]} for name in names]}})
else:
    streams = arg("--catalog")["streams"]
    names = [stream["stream"]["name"] for stream in streams]
    shared = config.get("global")
    state = arg("--state")
    at = 0
    if state and streams[0]["sync_mode"] == "incremental":
        at = (state[0]["global"]["shared_state"] if shared else state[0]["stream"]["stream_state"]).get("at", 0)
    def status(word):
        for name in names:
            emit({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.0,
                "stream_status": {"stream_descriptor": {"name": name}, "status": word}}})
    status("STARTED")
    while True:
        end = min(at + config["step"], config["rows"])
        wide = "x" * (config.get("wide", 0) if end == config["step"] else 0)
        for n in range(at, end):
            for name in names:
                emit({"type": "RECORD", "record": {"stream": name, "emitted_at": 1700000000000 + n,
                    "data": {"id": n, "key": n % config["keys"], "text": "row %d" % n + wide}}})
        content = {"at": end, "pad": "x" * (config["pad"] if end == config["step"] else 0)}
        if shared:
            scope = {"type": "GLOBAL", "global": {"shared_state": content, "stream_states": [
                {"stream_descriptor": {"name": name}, "stream_state": {}} for name in names]}}
        else:
            scope = {"type": "STREAM", "stream": {"stream_descriptor": {"name": names[0]}, "stream_state": content}}
        emit({"type": "STATE", "state": dict(scope, sourceStats={"recordCount": float((end - at) * len(names))})})
        at = end
        if at == config["rows"]:
            break
    status("COMPLETE")
