"""The node's CNI server: a unix socket on which the executable asks, one call a connection; and the spool of missed DELs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from moorings_core.log import get_logger
from moorings_core.ports.network import Network

from . import verbs

log = get_logger(__name__)
MOST, PATIENCE = 4 << 20, 100.0


class Server:
    """Serves the CNI verbs until closed."""

    def __init__(self, network: Network, socket: Path, spool: Path) -> None:
        self._network, self._socket, self._spool = network, socket, spool
        self._server: asyncio.AbstractServer | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._spooling = asyncio.Lock()

    async def start(self) -> None:
        """Do what the spool holds, then listen. Raises OSError."""
        await self.drain_spool()
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._socket, backlog=512)
        self._socket.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and let calls that are being done end: half an ADD would be worse than a slow stop."""
        if self._server:
            self._server.close()
            self._socket.unlink(missing_ok=True)
        if self._calls:
            await asyncio.wait(self._calls, timeout=PATIENCE)

    async def drain_spool(self) -> None:
        """Do the DELs that came while nobody listened; one that fails stays for the next time."""
        for path in sorted(self._spool.glob("[!.]*")) if self._spool.is_dir() else []:
            await self._catch_up(path)

    async def _catch_up(self, path: Path) -> None:
        """Do one missed DEL, once: whoever comes second finds the file gone."""
        async with self._spooling:
            if not path.is_file():
                return
            environment, stdin = parse(path.read_bytes())
            code, out = await verbs.answer(self._network, environment, stdin)
            if code == 0 or environment.get("CNI_COMMAND") != "DEL":
                path.unlink(missing_ok=True)
            else:
                log.warning("spooled DEL failed", file=path.name, answer=out)

    async def _answer(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, str]:
        """Answer a call. A missed DEL of the same sandbox was asked for earlier, so it is done first, never after."""
        container, interface = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
        if container and interface:
            await self._catch_up(self._spool / f"{container}.{interface}".replace("/", "_"))
        return await verbs.answer(self._network, environment, stdin)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            async with asyncio.timeout(PATIENCE):
                environment, stdin = parse(await _read(reader))
                code, out = await self._answer(environment, stdin)
                writer.write(b"%d" % code + out.encode() + (b"\n" if out else b""))
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("cni client lost", error=repr(error))
        finally:
            self._calls.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(MOST)
    while part := await reader.read(MOST):
        data += part
        if len(data) > MOST:
            raise ValueError("request too large")
    return data


def parse(request: bytes) -> tuple[Mapping[str, str], bytes]:
    """Split what the executable sent into environment and stdin."""
    head, _, stdin = request.partition(b"\0\0")
    pairs = (part.decode(errors="replace").partition("=") for part in head.split(b"\0"))
    return {name: value for name, _, value in pairs if name}, stdin
