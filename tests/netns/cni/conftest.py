import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cni_support import Fabric


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Callable[..., Fabric]]:
    """Make networks of nodes; all are taken down at the end."""
    made: list[Fabric] = []

    def make(**options: Any) -> Fabric:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Fabric.__new__(Fabric))
        made[-1].__init__(directory, **options)  # type: ignore[misc]
        return made[-1]

    yield make
    for one in made:
        one.close()
