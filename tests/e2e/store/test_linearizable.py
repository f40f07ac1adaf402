"""Histories of four clients on a few objects: as if there were one copy that does one thing at a time, whatever is killed."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import CONFIG_MAPS
from moorings_core.ports.errors import ApiError, NotFound
from tests.e2e.access.server_process import Server

from .conftest import config_map
from .histories import LOST, Call, State, linearizable

CLIENTS, CALLS, NAMES = 4, 60, ("one", "two", "three")
REFUSED = (404, 409)


class Client:
    """A client that notes what it does and when."""

    def __init__(self, kubeconfig: Path, seed: int) -> None:
        self._http, self._random, self._seed = HttpClient.from_kubeconfig(kubeconfig), random.Random(seed), seed
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self._known: dict[str, State | None] = {}

    async def run(self) -> None:
        """Do random things, one after another."""
        for number in range(CALLS):
            name = self._random.choice(NAMES)
            kind = self._random.choice(("create", "replace", "replace", "read", "read", "delete"))
            await self._do(name, kind, f"{self._seed}-{number}")
        await self._http.close()

    async def _do(self, name: str, kind: str, value: str) -> None:
        known, begin = self._known.get(name), time.monotonic()
        expected = known.version if known else 1
        try:
            async with asyncio.timeout(10):
                answer = await self._ask(name, kind, value, expected)
        except ApiError as error:
            answer = "refused" if error.code in REFUSED else LOST
        except (OSError, TimeoutError):
            answer = LOST
        if kind == "read" and answer == LOST:
            return
        if kind != "read":
            self._known[name] = State(answer, value) if isinstance(answer, int) else None
        elif answer is None or isinstance(answer, State):
            self._known[name] = answer
        self.calls[name].append(Call(kind, begin, time.monotonic(), answer, value, expected if kind == "replace" else 0))  # type: ignore[arg-type]
        if answer == LOST:
            await self._back()

    async def _ask(self, name: str, kind: str, value: str, expected: int) -> int | str | State | None:
        if kind == "read":
            try:
                found = await self._http.get(CONFIG_MAPS, name, "default")
            except NotFound:
                return None
            return State(int(found["metadata"]["resourceVersion"]), found["data"]["value"])
        if kind == "delete":
            await self._http.delete(CONFIG_MAPS, name, "default")
            return "deleted"
        wanted = config_map(name, value)
        if kind == "create":
            made = await self._http.create(CONFIG_MAPS, wanted)
        else:
            wanted["metadata"]["resourceVersion"] = str(expected)
            made = await self._http.update(CONFIG_MAPS, wanted)
        return int(made["metadata"]["resourceVersion"])

    async def _back(self) -> None:
        """Wait until the server answers again."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self._http.list(CONFIG_MAPS, "default", limit=1)
                    return
                except (ApiError, OSError):
                    await asyncio.sleep(0.05)


async def played(clients: list[Client], victim: Server) -> None:
    """Let the clients do their calls, kill a server in the middle, and judge: every object's history fits."""

    async def kill() -> None:
        while sum(len(c) for client in clients for c in client.calls.values()) < CALLS:
            await asyncio.sleep(0.01)
        victim.stop(signal.SIGKILL)
        victim.launch_again()

    await asyncio.gather(kill(), *(client.run() for client in clients))
    written = [call for client in clients for calls in client.calls.values() for call in calls if isinstance(call.answer, int)]
    assert len(written) > CLIENTS, "hardly anything was written"
    for name in NAMES:
        calls = [call for client in clients for call in client.calls[name]]
        assert linearizable(calls), "\n".join(map(str, sorted(calls, key=lambda c: c.begin)))


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_server_that_is_killed_in_the_middle(server, seed):
    await asyncio.to_thread(server.start)
    clients = [Client(server.data / "pki/admin.kubeconfig", seed * 10 + n) for n in range(CLIENTS)]
    await played(clients, server)


async def test_two_servers_on_one_etcd_of_which_one_is_killed_in_the_middle(pair):
    one, two = pair
    clients = [Client((one, two)[n % 2].data / "pki/admin.kubeconfig", 100 + n) for n in range(CLIENTS)]
    await played(clients, two)
