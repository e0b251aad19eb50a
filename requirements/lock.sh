#!/usr/bin/env bash
# Rewrites the lock files from pyproject.toml. Run after changing a dependency; needs `uv` on the PATH.
# torch is locked apart (requirements/torch.txt): which build fits depends on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t gpu_only < <(sed -n 's/^# skip: //p' requirements/torch.txt)
skip=()
for name in torch "${gpu_only[@]}"; do skip+=(--no-emit-package "$name"); done
for use in serve-cpu serve-gpu corpus train export evaluate registry milvus ray dev; do
  extras=(--extra "$use")
  [[ $use == dev ]] && extras=(--extra dev --extra train --extra evaluate)
  [[ $use == corpus ]] && extras+=(--extra synthesize)
  drop=()
  case $use in corpus | train | evaluate | dev) drop=("${skip[@]}") ;; esac
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "requirements/lock.sh" "${extras[@]}" "${drop[@]}" \
    --output-file "requirements/$use.txt" pyproject.toml
done
uv pip compile --quiet --no-deps --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command "requirements/lock.sh" --output-file requirements/model.txt requirements/model.in
# What the images hold (Dockerfile), at the versions that were tested: those of the other lock files.
lock_image() { # NAME CONSTRAINTS EXTRA... [-- OPTION...]
  local name=$1 tested=$2 extras=()
  shift 2
  while (($#)) && [[ $1 != -- ]]; do extras+=(--extra "$1") && shift; done
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "requirements/lock.sh" "${extras[@]}" "${@:2}" --constraint "requirements/$tested.txt" \
    --output-file "requirements/image-$name.txt" pyproject.toml
}
lock_image cpu serve-cpu serve-cpu tracing signing -- --override requirements/image-overrides.in
lock_image gpu serve-gpu serve-gpu tracing signing -- --override requirements/image-overrides.in
lock_image jobs dev train export evaluate synthesize -- "${skip[@]}"
uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command "requirements/lock.sh" --output-file requirements/image-tools.txt requirements/image-tools.in
# Clients of other people that the service is tried on (tests/clients); nothing of ours, so no extras.
for use in clients clients-hub2; do
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command "requirements/lock.sh" --output-file "requirements/$use.txt" "requirements/$use.in"
done
