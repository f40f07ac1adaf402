#!/bin/sh
# Runs all tests; after set-up only. Extra arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
# The bounds are for what hangs: a test has one of its own, but not what it left behind.
# What stays inside a process or its own namespaces runs on every core; whole labs run one after another.
timeout --foreground --kill-after=60 1200 pytest -q -rs -n 2 --dist loadfile tests/unit tests/contracts tests/netns "$@"
timeout --foreground --kill-after=60 2400 pytest -q -rs tests/e2e "$@"
# What this kernel lacks runs in a machine of its own, where everything is some ten times slower.
[ $# -gt 0 ] || timeout --foreground --kill-after=60 600 python -m tests.vm quick
