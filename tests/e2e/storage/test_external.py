"""The backend `external`: how a driver's program ends with its component."""

import asyncio
from pathlib import Path

import pytest

from moorings_csi import external


async def test_a_program_that_does_not_end_when_asked_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "STOP_GRACE", 0.1)
    socket, pid = tmp_path / "csi.sock", tmp_path / "pid"
    script = f'trap "" TERM; echo $$ > {pid}; : > {socket}; while :; do sleep 0.05; done'
    (tmp_path / "registry").mkdir()
    running = asyncio.create_task(external.External("stubborn", ["sh", "-c", script], socket, tmp_path / "registry").run())
    async with asyncio.timeout(10):
        while not (tmp_path / "registry" / "stubborn-reg.sock").exists():
            await asyncio.sleep(0.01)
        number = int(pid.read_text())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not Path(f"/proc/{number}").exists()
