"""The backend `external`: how a driver's program ends."""

import asyncio

from moorings_csi import external


async def test_a_program_that_does_not_end_when_asked_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "STOP_GRACE", 0.1)
    deaf = tmp_path / "deaf"
    process = await asyncio.create_subprocess_exec("sh", "-c", f'trap "" TERM; : > {deaf}; while :; do sleep 0.05; done')
    async with asyncio.timeout(10):
        while not deaf.exists():
            await asyncio.sleep(0.01)
        await external.end(process)
    assert process.returncode == -9


async def test_a_program_that_ends_when_asked_is_not_killed():
    process = await asyncio.create_subprocess_exec("sleep", "3600")
    await external.end(process)
    assert process.returncode == -15
    await external.end(process)  # and one that has ended is left alone
