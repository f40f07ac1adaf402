"""Programs that labs/upstream.sh builds of Go modules; the lab is the pytest plugin's."""

from pathlib import Path

import pytest

UPSTREAM = Path(__file__).parents[3] / "build" / "upstream"


@pytest.fixture(scope="session")
def program():
    """Return a function that finds a program by its name."""

    def find(name: str) -> Path:
        path = UPSTREAM / name
        if not path.exists():
            pytest.fail(f"{name} is not built; `labs/upstream.sh {name}` builds it")
        return path

    return find
