"""CNI verbs: what the runtime asked, done with `Network`, answered in its version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.namespaces import call_in, is_netns
from moorings_core.kernel.rtnetlink import RtnetlinkError
from moorings_core.log import get_logger
from moorings_core.ports.network import Degraded, Network, NetworkError, NotReady

from . import delegate, errors, protocol, results, wishes
from .errors import CniError
from .protocol import Call

log = get_logger(__name__)
LOOPBACK, PLUGIN, IPAM = "loopback", "moorings-cni", "moorings-ipam"
"""Names under which the executable is installed; the configuration says which is meant."""


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
        return CniError(errors.DEGRADED, words)
    if isinstance(error, NotReady):
        return CniError(errors.UNAVAILABLE if verb == "STATUS" else errors.TRY_AGAIN, words)
    if verb == "CHECK":
        return CniError(errors.CHECK_FAILED, words)
    return CniError(errors.FAILED, words)


async def _do(network: Network, call: Call) -> str:
    if call.verb == "VERSION":
        return protocol.version_answer(call.version)
    if call.config.get("type") == LOOPBACK:
        return await asyncio.to_thread(_loopback, call)
    if call.verb == "ADD":
        _check_netns(call)
        return await _add(network, call)
    if call.verb == "DEL":
        await network.detach(call.key)
    elif call.verb == "CHECK":
        results.compare(call.config.get("prevResult"), await network.check(call.key))
    elif call.verb == "GC":
        await network.collect(call.valid())
    else:
        await network.status()
    if _is_delegated(call):
        await delegate.call(call.verb, call.config, call.environment)
    return ""


async def _add(network: Network, call: Call) -> str:
    """Wire a sandbox, or only give it addresses, or only see to what another plugin has wired."""
    request, previous, dns = call.request(), call.config.get("prevResult"), wishes.dns(call.config)
    if _ipam(call) == IPAM and call.config.get("type") != PLUGIN:
        return results.addresses_result(await network.attach(replace(request, wire=False)), network.ranges, call.version, dns)
    wired = results.wired_before(previous, call.key.interface)
    if wired:
        await network.attach(replace(request, addresses=wired, foreign=True, wire=False))
        return json.dumps(results.down(previous or {}, call.version))
    if not _is_delegated(call):
        return results.result(await network.attach(request), call.version, dns, previous)
    given = await delegate.call("ADD", call.config, call.environment)
    try:
        attachment = await network.attach(replace(request, addresses=delegate.addresses(given), foreign=True))
    except BaseException:
        with suppress(CniError):
            await delegate.call("DEL", call.config, call.environment)
        raise
    return results.result(attachment, call.version, dns or given.get("dns") or {}, previous)


def _ipam(call: Call) -> str:
    found = call.config.get("ipam") or {}
    return str(found.get("type") or "") if isinstance(found, dict) else ""


def _is_delegated(call: Call) -> bool:
    """Whether another plugin gives the addresses."""
    return _ipam(call) not in ("", IPAM)


def _check_netns(call: Call) -> None:
    netns = call.environment["CNI_NETNS"]
    if not is_netns(netns):
        raise CniError(errors.INVALID_NETNS, f"CNI_NETNS: {netns} is not a network namespace")


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
