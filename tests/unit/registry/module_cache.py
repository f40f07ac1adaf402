"""Where upstream's modules lie, for the tests that hold our facts against them."""

import shutil
import subprocess
from pathlib import Path

import pytest


def module(name: str) -> Path:
    """Return a module's folder in Go's cache; skip where Go or the module is absent (nothing is downloaded)."""
    if not shutil.which("go"):
        pytest.skip("go is not installed: upstream's modules cannot be read")
    cache = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    folder = Path(cache) / name
    if not folder.exists():
        pytest.skip(f"{name} is not in the Go module cache: `make facts` brings it")
    return folder
