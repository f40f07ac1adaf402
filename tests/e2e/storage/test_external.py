"""The backend `external`: how a driver's program ends."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from moorings_core.kernel import processes
from moorings_csi import external

AGENT = """
import asyncio
from moorings_csi import external

async def main():
    await (await external.start({command})).wait()

asyncio.run(main())
"""


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


async def test_a_program_ends_with_the_agent_that_is_killed(tmp_path):
    agent_script, body = tmp_path / "agent.py", "echo $$ > $0.new; mv $0.new $0; while :; do sleep 1; done"
    agent_script.write_text(AGENT.format(command=["sh", "-c", body, str(tmp_path / "pid")]))
    agent = await asyncio.create_subprocess_exec(sys.executable, str(agent_script))
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
        program = int((tmp_path / "pid").read_text())
        os.kill(program, 0)
        agent.kill()
        await agent.wait()
        while Path(f"/proc/{program}/stat").exists() and " Z " not in Path(f"/proc/{program}/stat").read_text():
            await asyncio.sleep(0.01)


async def test_a_program_whose_agent_died_before_it_was_tied_is_not_started(tmp_path):
    command = processes.tied(["touch", str(tmp_path / "started")])
    assert command[0].endswith("setpriv"), "util-linux's setpriv is on every Debian"
    orphan = await asyncio.create_subprocess_exec("sh", "-c", '"$@"; true', "sh", *command)  # its parent is the shell
    await orphan.wait()
    assert not (tmp_path / "started").exists()


async def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        await external.start([str(tmp_path / "nothing")])
