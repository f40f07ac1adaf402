"""Where a driver can serve."""

from pathlib import Path

import pytest

from moorings_csi.errors import StorageError
from moorings_csi.server import serve


async def test_a_path_that_no_unix_socket_can_have_is_told_with_its_bound(tmp_path):
    with pytest.raises(StorageError, match="107 bytes"):
        await serve(Path("/") / ("x" * 60) / ("y" * 60), [])
