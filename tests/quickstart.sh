#!/usr/bin/env bash
# Runs the README's first command as a new user would and pastes the two curl commands it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
state=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log="$state/serve.log"
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$state"' EXIT
make serve PORT="$port" STATE="$state" >"$log" 2>&1 &
server=$!
for _ in $(seq 600); do
  grep -q '^curl ' "$log" && [ "$(grep -c '^curl ' "$log")" -ge 2 ] && break
  kill -0 "$server" 2>/dev/null || { cat "$log"; echo "make serve ended early"; exit 1; }
  sleep 0.5
done
if "$PWD/.venv/serve/bin/python" -c 'import torch' 2>/dev/null; then echo "the serving environment holds torch"; exit 1; fi
mapfile -t commands < <(grep '^curl ' "$log")
first=$(bash -c "${commands[0]}")
second=$(bash -c "${commands[1]}")
echo "$first"
echo "$second"
python3 - "$first" "$second" <<'PY'
import json, sys
a, b = (json.loads(text)["results"][0]["id"] for text in sys.argv[1:])
sys.exit(0 if a != b else f"both instructions returned {a} first")
PY
# The signal goes to the service, make's only child, so that its own exit status is what make reports.
kill -TERM "$(cat "/proc/$server/task/$server/children")"
wait "$server" || { echo "the service did not stop cleanly"; exit 1; }
echo "quick start: two instructions, two different first passages"
