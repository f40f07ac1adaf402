"""What `make demo` runs after set-up, on a lab of its own, twice: the second time on the lab that is there."""

import os
import sys

import pytest

from moorings_labs.cluster import run
from moorings_labs.pytest_plugin import Watchdog

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


def test_the_demo_shows_what_it_says_and_can_be_run_again():
    name = f"d{os.getpid()}"
    watchdog = Watchdog(name)
    try:
        for _ in range(2):
            done = run([sys.executable, "-m", "moorings_labs.demo"], env={"MOORINGS_LAB_NAME": name}, timeout=120)
            assert done.stdout == ""
            assert "requests, none failed" in done.stderr
            assert done.stderr.count("the volume holds") == 2
            assert done.stderr.endswith(f"and when you are done:\n  moorings down {name}\n")
    finally:
        run([sys.executable, "-m", "moorings_core.cli", "down", name], check=False)
        watchdog.dismiss()
