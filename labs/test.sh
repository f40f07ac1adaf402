#!/bin/sh
# Runs all tests; after set-up only. Extra arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
# What stays inside a process or its own namespaces runs on every core; whole labs run one after another.
pytest -q -rs -n 2 --dist loadfile tests/unit tests/contracts tests/netns "$@"
pytest -q -rs tests/e2e "$@"
