#!/usr/bin/env bash
# Runs docker-compose.yml as an operator would: up, search, add a collection, search, kill -9, search, down and up, search.
# Needs Docker and Compose (v1.29 or v2) and curl; uses a project, a volume and a port of its own and removes them.
# usage: deploy/compose/check.sh [--build]     CHECK_PORT=18080 by default; COMPOSE="docker compose" to choose a version
set -euo pipefail
cd "$(dirname "$0")/../.."

port=${CHECK_PORT:-18080}
url=http://127.0.0.1:$port
export INFEMBED_ADDRESS=127.0.0.1:$port
if [[ -z ${COMPOSE:-} ]]; then
  if docker compose version >/dev/null 2>&1; then COMPOSE="docker compose"; else COMPOSE=docker-compose; fi
fi
read -ra compose <<<"$COMPOSE"
compose+=(--project-name inf-embed-check)
work=$(mktemp -d)
trap finish EXIT

finish() {
  local code=$?
  ((code == 0)) || { echo "FAILED; the last lines of the service's log:"; "${compose[@]}" logs --tail 20 service || true; }
  "${compose[@]}" down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
  rm -rf "$work"
  ((code != 0)) || echo "all steps passed"
}

step() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
quietly() { "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; return 1; }; }
container() { "${compose[@]}" ps -q service; }

wait_ready() { # prints how long it took
  local since=${EPOCHREALTIME/./}
  for _ in $(seq 600); do
    if curl -sf "$url/ready" >/dev/null 2>&1; then
      printf '          ready after %d ms\n' $(((${EPOCHREALTIME/./} - since) / 1000))
      return
    fi
    sleep 0.1
  done
  echo "          not ready within 60 s" >&2
  return 1
}

expect() { # COLLECTION QUERY INSTRUCTION ID: the best document must be ID
  local best
  best=$(curl -sf "$url/search" -H 'content-type: application/json' \
    -d "{\"collection\": \"$1\", \"query\": \"$2\", \"instruction\": \"$3\", \"k\": 1}" | sed 's/.*"results":\[{"id":"\([^"]*\)".*/\1/')
  printf '          %s: "%s" + "%s" -> %s\n' "$1" "$2" "$3" "$best"
  [[ $best == "$4" ]] || { echo "          expected $4" >&2; return 1; }
}

expect_demo() { expect demo "how do I fix a Wi-Fi dead zone in one room" "$1" "$2"; }
expect_all() {
  expect_demo "I rent, so no holes in the walls, and I want a list to work through." networking-004
  expect_demo "Explain it for a seven-year-old whose film keeps stopping." networking-006
  [[ ${1:-} == demo ]] || expect harbour "when may I enter the harbour" "only for sailing boats" harbour-2
}

cat >"$work/harbour.jsonl" <<'PASSAGES'
{"id": "harbour-1", "text": "Container ships enter the harbour at high water and must order a pilot the day before."}
{"id": "harbour-2", "text": "Sailing boats enter the harbour between six in the morning and ten at night, engine running, sails down."}
{"id": "harbour-3", "text": "The harbour master's office is closed on Sundays and sells fishing permits on weekdays."}
PASSAGES
chmod 755 "$work" && chmod 644 "$work/harbour.jsonl"

step "up: $("${compose[@]}" version --short 2>/dev/null | head -1) ($COMPOSE)"
[[ ${1:-} != --build ]] || quietly "${compose[@]}" build service
quietly "${compose[@]}" up -d service
wait_ready
expect_all demo

step "add a collection to the volume, and let the running service take it in"
"${compose[@]}" run --rm -v "$work/harbour.jsonl:/harbour.jsonl:ro" index \
  build --bundle /app/bundle --passages /harbour.jsonl --out /app/collections/harbour 2>/dev/null | sed 's/^/          /'
docker exec "$(container)" python -c "import os, signal; os.kill(1, signal.SIGHUP)"
for _ in $(seq 300); do curl -sf "$url/info" | grep -q '"harbour"' && break || sleep 0.1; done
expect_all

step "kill -9: the service comes back by itself"
before=$(docker inspect -f '{{.State.Pid}}' "$(container)")
kill -9 "$before" 2>/dev/null || docker run --rm --privileged --pid host --entrypoint python "${INFEMBED_IMAGE:-inf-embed:cpu}" \
  -c "import os; os.kill($before, 9)"
for _ in $(seq 300); do
  now=$(docker inspect -f '{{.State.Pid}}' "$(container)")
  [[ $now != 0 && $now != "$before" ]] && break
  sleep 0.1
done
wait_ready
expect_all

step "down and up: the volume keeps both collections"
quietly "${compose[@]}" down --timeout 40
quietly "${compose[@]}" up -d service
wait_ready
expect_all

step "the container's own health check agrees"
for _ in $(seq 300); do
  health=$(docker inspect -f '{{.State.Health.Status}}' "$(container)")
  [[ $health == healthy ]] && break
  sleep 0.1
done
echo "          $health"
[[ $health == healthy ]]

step "nothing in the image can be written, no shell is needed, the user is not root"
docker exec "$(container)" python -c '
import os
assert os.getuid() == 10001, os.getuid()
for place in ("/app", "/app/collections", "/etc"):
    try:
        open(f"{place}/probe", "w")
    except OSError as error:
        print(f"          {place}: {error.strerror}")
    else:
        raise SystemExit(f"{place} can be written")'
docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL -v /dev/null:/bin/sh:ro -v /dev/null:/bin/bash:ro \
  "${INFEMBED_IMAGE:-inf-embed:cpu}" --help >/dev/null && echo "          starts without /bin/sh"
