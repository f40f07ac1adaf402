"""CNI verbs: what the runtime asked, done with `Network`, answered in its version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.namespaces import call_in, is_netns
from moorings_core.kernel.rtnetlink import RtnetlinkError
from moorings_core.log import get_logger
from moorings_core.ports.network import Degraded, Network, NetworkError, NotReady

from . import protocol, results
from .protocol import Call, CniError

log = get_logger(__name__)
LOOPBACK = "loopback"


async def answer(network: Network, environment: Mapping[str, str], stdin: bytes) -> tuple[int, str]:
    """Return exit code and stdout of one call. Never raises."""
    version = protocol.NEWEST
    try:
        call = protocol.parse(environment, stdin)
        version = call.version if call.verb != "VERSION" else version
        return 0, await _do(network, call)
    except CniError as error:
        return 1, error.to_json(version)
    except (NetworkError, RtnetlinkError, OSError) as error:
        log.warning("cni call failed", verb=environment.get("CNI_COMMAND", ""), error=error)
        return 1, _code(environment.get("CNI_COMMAND", ""), error).to_json(version)
    except Exception as error:
        log.exception("cni call broke", verb=environment.get("CNI_COMMAND", ""))
        return 1, CniError(999, f"{type(error).__name__}: {error}").to_json(version)


def _code(verb: str, error: Exception) -> CniError:
    words = str(error)
    if isinstance(error, Degraded):
        return CniError(protocol.DEGRADED, words)
    if isinstance(error, NotReady):
        return CniError(protocol.UNAVAILABLE if verb == "STATUS" else protocol.TRY_AGAIN, words)
    if verb == "CHECK":
        return CniError(protocol.CHECK_FAILED, words)
    return CniError(protocol.FAILED, words)


async def _do(network: Network, call: Call) -> str:
    if call.verb == "VERSION":
        return protocol.version_answer(call.version)
    if call.config.get("type") == LOOPBACK:
        return await asyncio.to_thread(_loopback, call)
    if call.verb == "ADD":
        _check_netns(call)
        return results.result(await network.attach(call.request()), call.version)
    if call.verb == "DEL":
        await network.detach(call.key)
    elif call.verb == "CHECK":
        results.compare(call.config.get("prevResult"), await network.check(call.key))
    elif call.verb == "GC":
        await network.collect(call.valid())
    else:
        await network.status()
    return ""


def _check_netns(call: Call) -> None:
    netns = call.environment["CNI_NETNS"]
    if not is_netns(netns):
        raise CniError(protocol.INVALID_NETNS, f"CNI_NETNS: {netns} is not a network namespace")


def _loopback(call: Call) -> str:
    """Runtimes of containerd's line ask a plugin named loopback to bring lo up; it is this one under another name."""
    if call.verb not in ("ADD", "CHECK"):
        return ""
    _check_netns(call)
    netns = call.environment["CNI_NETNS"]
    if call.verb == "CHECK":
        with rtnetlink.connect(netns) as pod:
            link = pod.link("lo")
        if link is None or not link.up:
            raise NetworkError("lo is down")
        return ""
    call_in(netns, _raise_loopback)
    return results.loopback_result(netns, call.version)


def _raise_loopback() -> None:
    with rtnetlink.connect() as pod:
        pod.apply([rtnetlink.set_link(1, up=True)])
