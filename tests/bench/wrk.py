"""The load generator wrk (Debian's package) on an API server: one thread, TLS, a bearer token."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.differential.peers import TOKEN

SECONDS = 6
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
HEAD = f'wrk.headers["Authorization"] = "Bearer {TOKEN}"\nwrk.headers["Content-Type"] = "application/json"\n'
CREATES = """
local number, filler = 0, string.rep("x", 1900)
request = function()
  number = number + 1
  local body = string.format('{"metadata":{"name":"%s-%d"},"data":{"v":"%s"}}', "PREFIX", number, filler)
  return wrk.format("POST", nil, nil, body)
end
"""


class Rate(NamedTuple):
    """Requests a second, and milliseconds that half and 99 of 100 took."""

    rate: float
    p50: float
    p99: float


def creates(port: int, path: str, connections: int, prefix: str) -> Rate:
    """Create ConfigMaps of 2 KB, named PREFIX-1, PREFIX-2, ..."""
    return _run(port, path, connections, CREATES.replace("PREFIX", prefix))


def gets(port: int, path: str, connections: int) -> Rate:
    """Read one object."""
    return _run(port, path, connections, "")


def _run(port: int, path: str, connections: int, script: str) -> Rate:
    with tempfile.TemporaryDirectory() as directory:
        lua = Path(directory) / "load.lua"
        lua.write_text(HEAD + script)
        command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(lua), f"https://127.0.0.1:{port}{path}"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS + 60).stdout
    if refused := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", told):
        raise SystemExit(f"{' '.join(command)}: {refused[0]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert rate is not None, told
    return Rate(float(rate[1]), _latency(told, 50), _latency(told, 99))


def _latency(told: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)([a-z]+)", told, re.MULTILINE)
    assert found is not None, told
    return float(found[1]) * UNITS[found[2]]
