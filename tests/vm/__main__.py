"""`python -m tests.vm [COMMAND ...]`: run a command in the machine; without one, the tests that need its kernel (`make test-vm`)."""

from __future__ import annotations

import sys

from . import machine

SECONDS = 300.0
TESTS = [
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:hypothesispytest",
    "--color=no",
    "--timeout=120",
    "-k",
    "ipvs",
    "tests/contracts/proxy",
]


def main() -> None:
    """Boot, run, print what it prints; exit as it exits."""
    try:
        sys.exit(machine.run(sys.argv[1:] or TESTS, seconds=SECONDS))
    except machine.MachineError as error:
        sys.exit(f"tests.vm: {error}")


if __name__ == "__main__":
    main()
