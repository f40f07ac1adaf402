#!/bin/sh
# The main job, after set-up: a three-node cluster, real containers, the unmodified kubectl. See moorings_labs/demo.py.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python -m moorings_labs.demo
