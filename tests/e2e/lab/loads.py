"""Runs `load.py` inside a place while a test does something to the cluster."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .places import Place

SCRIPT = Path(__file__).with_name("load.py")
READY_SECONDS, REPORT_SECONDS = 20.0, 30.0


@contextmanager
def load(place: Place, rate: float, *urls: str) -> Iterator[dict[str, Any]]:
    """Send requests while the block runs; the yielded mapping has the report afterwards."""
    command = ["nsenter", f"--net={place.netns}", sys.executable, str(SCRIPT), str(rate), *urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
            assert ready, f"nothing answers at {urls}"
            assert process.stdout.readline() == "ready\n"
            report: dict[str, Any] = {}
            yield report
            text, _ = process.communicate(timeout=REPORT_SECONDS)
            report.update(json.loads(text))
        finally:
            process.kill()
