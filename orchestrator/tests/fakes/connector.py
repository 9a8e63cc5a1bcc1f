#!/usr/bin/env python3
"""A connector for ferry's tests. Its config is its script.

Source: streams [names], lines [text or {"raw_latin1": text}, {"sleep": s}, {"repeat": n, "text": t},
{"kill": signal}, {"wait_term": {...}}], exit, spec_sleep.
Destination: out (file), skew {n: delta} and other faults, see below; one called destination-exact says that it keeps
committed states, which are in the file `kept`, by stream; with
die_uncommitted it ends by SIGKILL when it has kept a state and not echoed it.
"""
import hashlib, json, os, signal, sys, time

def emit(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

def arg(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None

def load(name):
    path = arg(name)
    return json.load(open(path)) if path else None

command = sys.argv[1]
source = "source" in os.path.basename(sys.argv[0])
SECRET = {"type": "string", "airbyte_secret": True}
if command == "spec":
    spec = {"connectionSpecification": {"type": "object", "properties": {"password": SECRET, "lines": {}}}}
    if "exact" in sys.argv[0]:
        spec["ferrybyte"] = {"committed_states": True}
    emit({"type": "SPEC", "spec": spec})
    sys.exit(0)
config = load("--config")
mode = os.stat(arg("--config")).st_mode & 0o777
if config.get("print_secret"):
    sys.stderr.write("connecting with " + config["password"] + "\n")
    emit({"type": "LOG", "log": {"level": "INFO", "message": "password=" + config["password"]}})
if command == "check":
    ok = config.get("works", True)
    emit({"type": "CONNECTION_STATUS", "connectionStatus": {"status": "SUCCEEDED" if ok else "FAILED", "message": None if ok else "no route with " + config.get("password", "")}})
    sys.exit(0)
if command == "discover":
    streams = []
    for s in config.get("streams", ["users"]):
        namespace, name = s if isinstance(s, list) else (None, s)
        streams.append({"name": name, "namespace": namespace, "json_schema": {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "at": {"type": "integer"}}},
            "supported_sync_modes": ["full_refresh", "incremental"], "is_resumable": config.get("resumable", False)})
    emit({"type": "CATALOG", "catalog": {"streams": streams}})
    sys.exit(0)
CONNECTION, JOB = os.environ.get("FERRY_CONNECTION", ""), os.environ.get("WORKER_JOB_ID", "0")

def kept():
    path = config["kept"] + "-" + CONNECTION
    return path, json.load(open(path)) if os.path.exists(path) else {}

if command == "committed":
    if config.get("committed_error"):
        emit({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": 1.0, "error": {"message": "not now", "failure_type": "transient_error"}}})
        sys.exit(1)
    for message in kept()[1].values():
        # A state's text stays as the source wrote it.
        print(json.dumps(message, separators=(",", ":")))
    sys.exit(0)
with open(config["args_out"], "w") as f:
    json.dump({"argv": sys.argv, "catalog": load("--catalog"), "state": load("--state"), "config_mode": mode,
        "connection": CONNECTION, "pid": os.getpid(), "attempt": os.environ.get("WORKER_JOB_ATTEMPT")}, f)

def read():
    lines = config["lines"]
    attempt = os.environ.get("WORKER_JOB_ATTEMPT", "0")
    if isinstance(lines, dict):
        lines = lines.get(attempt, lines["else"])
    out = sys.stdout.buffer
    for line in lines:
        if isinstance(line, str):
            out.write(line.encode() + b"\n")
        elif "raw_latin1" in line:
            out.write(line["raw_latin1"].encode("latin-1"))
        elif "repeat" in line:
            for i in range(line["repeat"]):
                out.write(line["text"].replace("@", str(i)).encode() + b"\n")
        elif "fill" in line:
            for i in range(line["fill"]):
                out.write(b"x" * (1 << 20))
        elif "sleep" in line:
            out.flush()
            time.sleep(line["sleep"])
        elif "stderr" in line:
            sys.stderr.write(line["stderr"] + "\n")
        elif "kill" in line:
            out.flush()
            os.kill(os.getpid(), line["kill"])
        elif "until_term" in line:
            out.flush()
            stopped = []
            signal.signal(signal.SIGTERM, lambda *a: stopped.append(1))
            open(line["until_term"], "w").write("ready")
            end = time.time() + 30
            while not stopped and time.time() < end:
                time.sleep(0.02)
            for text in line.get("then", []):
                out.write(text.encode() + b"\n")
            if line.get("hang"):
                out.flush()
                time.sleep(30)
        elif "exit" in line:
            out.flush()
            sys.exit(line["exit"])
    out.flush()

def write():
    log = open(config["out"], "w")
    counts, held = {}, []
    echoed = 0
    if config.get("stop_reading"):
        time.sleep(config["stop_reading"])
        sys.exit(0)
    if "exit_at_start" in config:
        sys.stderr.write("cannot open the table\n")
        sys.exit(config["exit_at_start"])
    for line in sys.stdin.buffer:
        log.write(line.decode())
        message = json.loads(line)
        kind = message["type"]
        if kind == "RECORD":
            r = message["record"]
            key = (r.get("namespace"), r["stream"])
            counts[key] = counts.get(key, 0) + 1
            if config.get("die_after") == sum(counts.values()):
                os.kill(os.getpid(), config.get("die_by", 9))
            if config.get("pauses_at") == sum(counts.values()):
                time.sleep(config["pause"])
        elif kind == "STATE":
            s = message["state"]
            if s["type"] == "STREAM":
                d = s["stream"]["stream_descriptor"]
                n = counts.pop((d.get("namespace"), d["name"]), 0)
            else:
                n = sum(counts.values())
                counts.clear()
            echoed += 1
            s["destinationStats"] = {"recordCount": float(n + config.get("skew", {}).get(str(echoed), 0))}
            if config.get("digest"):
                s["destinationStats"]["recordDigest"] = config["digest"]
            if config.get("no_stats"):
                del s["destinationStats"]
            if config.get("foreign_id"):
                s["id"] = 999
            if config.get("reverse"):
                held.append(message)
                if len(held) == 2:
                    emit(held[1]); emit(held[0])
                continue
            if "kept" in config:
                path, all = kept()
                s["ferrybyte"] = {"job": int(JOB), "attempt": 0}
                all[json.dumps(s.get("stream", {}).get("stream_descriptor"))] = message
                json.dump(all, open(path, "w"))
                if str(config.get("die_uncommitted")) == os.environ.get("WORKER_JOB_ATTEMPT"):
                    os.kill(os.getpid(), 9)
            if config.get("swallow"):
                continue
            emit(message)
            if config.get("twice"):
                emit(message)
    log.flush()
    if config.get("error"):
        emit({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": 1.0, "error": {"message": config["error"], "failure_type": config.get("failure_type", "system_error")}}})
        sys.exit(1)
    if config.get("hang_at_end"):
        time.sleep(config["hang_at_end"])
    sys.exit(config.get("exit", 0))

read() if command == "read" else write()
