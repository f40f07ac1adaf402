"""Drivers by fork: a process that has imported everything makes each one in a few milliseconds, so that it can be killed often.

Lines of JSON: {"run": [arguments of moorings csi], "crash_at": point} answers the pid, {"wait": pid} the exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from typing import Any

_running: list[subprocess.Popen[str]] = []


def run(arguments: list[str], crash_at: str) -> int:
    """Start a driver and return its pid."""
    return _ask({"run": arguments, "crash_at": crash_at})


def wait(pid: int) -> int:
    """Return the exit code of a driver once it has ended; negative for a signal."""
    return _ask({"wait": pid})


def _ask(question: dict[str, Any]) -> int:
    if not _running:
        command = [sys.executable, "-m", "tests.e2e.storage.zygote"]
        _running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        atexit.register(_end)
    process = _running[0]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def _end() -> None:
    process = _running.pop()
    process.communicate()


def _serve() -> None:
    import moorings_csi.driver  # noqa: F401  what every child needs
    from moorings_csi.command import csi

    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                os.environ["MOORINGS_CSI_CRASH_AT"] = question["crash_at"]
                os.dup2(2, 1)
                csi.main(question["run"], "moorings csi")
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
