import pytest

from .driver_process import DriverProcess


@pytest.fixture
async def driver(tmp_path):
    driver = DriverProcess(tmp_path)
    yield driver
    await driver.close()
