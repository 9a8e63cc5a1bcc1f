#!/bin/sh
# Runs all modes of destination-dremio against a real Dremio, with a handful of rows, and says what to look at.
#   prove.sh CONFIG.json [PROGRAM]
# It makes tables whose names begin with ferry_proof in the path of the config, and prints how to drop them.
set -eu

config=${1:?"usage: prove.sh CONFIG.json [PROGRAM]"}
program=${2:-destination-dremio}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

catalog() { # mode, stream, primary key
    cat <<END
{"streams":[{"stream":{"name":"$2","supported_sync_modes":["full_refresh","incremental"],"json_schema":{"type":"object","properties":{
"id":{"type":"integer"},"amount":{"type":"number"},"note":{"type":"string"},"at":{"type":"string","format":"date-time"},"tags":{"type":"array"}}}},
"sync_mode":"incremental","cursor_field":["at"],"destination_sync_mode":"$1","primary_key":$3}]}
END
}

row() { # stream, id, amount, note, second
    printf '{"type":"RECORD","record":{"stream":"%s","emitted_at":1700000000000,"data":{"id":%s,"amount":%s,"note":"%s","at":"2024-02-29T12:00:%sZ","tags":["a",1]}}}\n' "$@"
}

state() { # stream
    printf '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"%s"},"stream_state":{"proof":1}}}}\n' "$1"
}

run() { # what, mode, stream, primary key; records on stdin
    catalog "$2" "$3" "$4" >"$folder/catalog.json"
    if "$program" write --config "$config" --catalog "$folder/catalog.json" >"$folder/out"; then
        if grep -q '"proof":1' "$folder/out"; then
            echo "ok      $1"
            return
        fi
    fi
    echo "FAILED  $1"
    grep -v '"type":"STATE"' "$folder/out" || true
    exit 1
}

if "$program" check --config "$config" | tee "$folder/out" | grep -q SUCCEEDED; then
    echo "ok      check: create, insert, select and drop"
else
    echo "FAILED  check"
    cat "$folder/out"
    exit 1
fi

name=ferry_proof_append
{ row $name 1 0.1 "it's" 01; row $name 2 1e300 "漢字 🚢" 02; state $name; } | run "append" append $name '[]'
{ row $name 3 -5 "" 03.123; state $name; } | run "append again" append $name '[]'

name=ferry_proof_overwrite
{ row $name 1 1 old 01; row $name 2 2 old 01; state $name; } | run "overwrite" overwrite $name '[]'
{ row $name 7 7 new 02; state $name; } | run "overwrite again" overwrite $name '[]'

name=ferry_proof_dedup
{ row $name 1 1 old 01; row $name 1 2 newer 02; row $name 2 3 kept 05; state $name; } | run "append_dedup" append_dedup $name '[["id"]]'
{ row $name 1 4 newest 03; row $name 2 5 "too old" 04; state $name; } | run "append_dedup again" append_dedup $name '[["id"]]'

cat <<'END'

Now look, in the path of your config:
  SELECT id, amount, note, "at", tags FROM ferry_proof_append ORDER BY id      -- 1 it's, 2 漢字 🚢, 3 with 123 milliseconds
  SELECT id, note FROM ferry_proof_overwrite                                   -- 7 new
  SELECT id, note FROM ferry_proof_dedup ORDER BY id                           -- 1 newest, 2 kept
and drop what was made:
  DROP TABLE ferry_proof_append;  DROP TABLE ferry_proof_dedup;
  DROP VIEW ferry_proof_overwrite;  DROP TABLE ferry_proof_overwrite__ferry_b   -- or, without views: DROP TABLE ferry_proof_overwrite
END
