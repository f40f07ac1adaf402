from collections.abc import Iterator

import pytest

from .server_process import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server with its API and controllers for all tests of a file."""
    made = Server(tmp_path_factory.mktemp("server"))
    made.start(run=["api", "controllers"])
    yield made
    made.stop()


@pytest.fixture
def own_server(tmp_path) -> Iterator[Server]:
    """A server of the test's own, not started."""
    made = Server(tmp_path)
    yield made
    made.stop()
