"""The world and the API of the proxy's own tests."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def load(name: str) -> object:
    """Import a helper file beside this one, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


netlab, memory = load("netlab"), load("memory")


@pytest.fixture
def lab() -> Iterator[object]:
    with netlab.lab() as made:
        yield made


@pytest.fixture
async def client() -> object:
    return memory.MemoryClient()
