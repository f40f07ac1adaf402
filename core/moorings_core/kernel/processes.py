"""Programs that end with the process that started them, however that ends.

Source: prctl(2), PR_SET_PDEATHSIG. Set by setpriv(1) of util-linux: Python between fork and exec is not safe in a process with threads.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

_CHECK = 'test "$PPID" = "$0" && exec "$@"'
"""The signal is sent for a death after setpriv asked for it: a parent that is gone already is seen by its number."""


def tied(command: Sequence[str]) -> list[str]:
    """Return a command that is killed with this process. The thread that starts it must live as long; without setpriv it is not tied."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "sh", "-c", _CHECK, str(os.getpid()), *command] if setpriv else list(command)
