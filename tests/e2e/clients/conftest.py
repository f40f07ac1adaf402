import pytest

from tests.e2e.api.api_process import ApiProcess


@pytest.fixture
async def api(tmp_path):
    process = ApiProcess(tmp_path)
    await process.start()
    yield process
    await process.kill()
