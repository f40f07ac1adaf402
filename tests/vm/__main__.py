"""`python -m tests.vm [quick | COMMAND ...]`: run a command in the machine; without one, all tests that need its kernel.

quick: the most telling of them, as part of `make test`.
"""

from __future__ import annotations

import sys

from . import machine

SECONDS = 560.0
PYTEST = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "--color=no", "--timeout=120"]
PLACES = ["tests/contracts/proxy", "tests/netns/proxy/test_exchange.py", "tests/contracts/storage/test_io_limits.py"]
WHOLE = "ipvs or io_limits"
QUICK = "ipvs and (cluster_ip or external_policy_local or removed_endpoint or fixed_port or exchanged)"


def main() -> None:
    """Boot, run, print what it prints; exit as it exits."""
    words = sys.argv[1:]
    command = words if words and words != ["quick"] else [*PYTEST, "-k", QUICK if words else WHOLE, *PLACES]
    try:
        sys.exit(machine.run(command, seconds=SECONDS))
    except machine.MachineError as error:
        sys.exit(f"tests.vm: {error}")


if __name__ == "__main__":
    main()
