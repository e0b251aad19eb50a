#!/usr/bin/env bash
# Says how large an image is and how long it takes from `docker run` to ready. On a busy machine look at the processor
# time, which counts the service alone. Run it where Docker's daemon runs (it reads /proc).
# usage: deploy/compose/start_time.sh [IMAGE [ROUNDS]]
set -euo pipefail
image=${1:-inf-embed:cpu}
port=${START_PORT:-18081}
echo "$image: $(($(docker image inspect -f '{{.Size}}' "$image") / 1000000)) MB"
for _ in $(seq "${2:-3}"); do
  since=${EPOCHREALTIME/./}
  made=$(docker run -d --read-only --tmpfs /tmp --cap-drop ALL -p "127.0.0.1:$port:8080" "$image")
  until curl -sf "http://127.0.0.1:$port/ready" >/dev/null 2>&1; do
    (((${EPOCHREALTIME/./} - since) < 120000000)) || { docker logs "$made" >&2; docker rm -f "$made" >/dev/null; exit 1; }
    sleep 0.05
  done
  ms=$(((${EPOCHREALTIME/./} - since) / 1000))
  read -ra times <"/proc/$(docker inspect -f '{{.State.Pid}}' "$made")/stat"
  echo "ready after $ms ms, of them $(((times[13] + times[14]) * 1000 / $(getconf CLK_TCK))) ms of processor time"
  docker rm -f "$made" >/dev/null
done
