"""`moorings server`: store, API, controllers and scheduler in one process, as the cluster file says."""

from __future__ import annotations

import asyncio
import csv
import gc
import ipaddress
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from moorings_core import durable
from moorings_core.api.audit import policy as audit_policy
from moorings_core.api.audit.log import AuditLog, LogFile
from moorings_core.api.cache import store_key
from moorings_core.api.context import User
from moorings_core.api.extension.proxy_identity import ProxyIdentity
from moorings_core.api.identity import identity_of, keep_identity
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.client.election import Elector
from moorings_core.config import load_text
from moorings_core.config.backends import load
from moorings_core.log import get_logger, setup_logging
from moorings_core.pki.authority import Authority
from moorings_core.pki.keyring import BadKeyring, Keyring
from moorings_core.pki.kubeconfig import kubeconfig
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import AuditConfig, ClusterConfig
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Key
from moorings_core.ports.store import Store
from moorings_core.store import choice as choices
from moorings_core.store.exchange import ExchangeableStore
from moorings_core.store.keeper import StoreKeeper
from moorings_core.store.sealed import SealedStore
from moorings_core.supervise import Run, run_all

log = get_logger(__name__)
ISSUER = "https://kubernetes.default.svc.cluster.local"
KEYRING_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
"""How long the store's writer thread may hold the interpreter when the event loop wants it back (5 ms is Python's default)"""
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


class NoPolicy(MooringsError):
    """The file that says what to record can't be read."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of a server below its data directory."""

    data: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.data / "pki"

    @property
    def store(self) -> Path:
        """The objects."""
        return self.data / "store"


@click.command()
@click.option("--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="the cluster file")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("/var/lib/moorings/server"), show_default=True)
@click.option("--advertise", required=True, help="the address at which nodes and pods reach this server")
@click.option("--bind", default="", help="the address to listen on; default: all")
@click.option("--log-level", default="INFO", show_default=True)
def command(config_file: Path | None, data: Path, advertise: str, bind: str, log_level: str) -> None:
    """Run a control plane: store, API, controllers, scheduler."""
    import uvloop

    setup_logging(log_level)
    text = config_file.read_text() if config_file else ""
    uvloop.run(serve(load_text(text, str(config_file or "cluster.yaml")), text, Paths(data), advertise, bind))


async def serve(config: ClusterConfig, text: str, paths: Paths, advertise: str, bind: str) -> None:
    """Serve until SIGTERM."""
    prepare_pki(paths.pki, config, advertise)
    choice = choices.load(paths.data, config.server.store)
    exchangeable = ExchangeableStore(await open_store(choice.backend, paths.data / choice.directory, choice.parameters))
    keyring = Keyring.load_or_create(paths.pki / "encryption.json")
    store = SealedStore(exchangeable, keyring, [stored_under(resource) for resource in config.server.encryption.resources])
    signer = TokenSigner.load_or_create(paths.pki / "sa.key", ISSUER)
    front_proxy = ProxyIdentity.load_or_create(paths.pki / "front-proxy", (paths.pki / "ca.crt").read_bytes())
    tls, agent_tls = _server_tls(paths.pki), _agent_tls(paths.pki)
    audit = audit_log(config.server.audit, paths.data)
    options = ServerOptions(config, text, signer, advertise, tls, agent_tls, static_tokens(paths.pki), audit, front_proxy)
    server = ApiServer(options, store)
    port = await server.start(bind or None, config.server.port)
    await asyncio.to_thread(import_components, config)
    _keep_loop_quick()
    log.info("serving", address=advertise, port=port, store=choice.backend)
    identity = identity_of(paths.data)
    keeper = StoreKeeper(server.client("system:apiserver"), exchangeable, paths.data, choice, open_store, identity)
    beside: dict[str, Run] = {
        "encryption": partial(keep_encrypted, store, keyring),
        "identity": partial(keep_identity, server.client("system:apiserver"), identity, advertise),
        "store": keeper.run,
        **components(server, config, (paths.pki / "ca.crt").read_text(), signer, Turn(exchangeable, identity, config.timing.election)),
    }
    running = asyncio.create_task(run_all(beside))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.close()


async def open_store(backend: str, directory: Path, parameters: Mapping[str, Any]) -> Store:
    """Open a store by the name of its backend."""
    store: Store = await load("store", backend)(directory, parameters)
    return store


@dataclass(frozen=True, slots=True)
class Turn:
    """Lets a component work in one of the servers on a store; without others it works at once."""

    store: ExchangeableStore
    identity: str
    seconds: float
    """How long a server keeps its turn without a sign of life"""

    def of(self, client: Client, name: str, work: Run) -> Run:
        """Return work as it runs under the lease `name`."""
        seconds = self.seconds
        elector = Elector(client, name, self.identity, duration=seconds, renew=seconds * 2 / 3, retry=seconds * 2 / 15)
        return partial(run_alone, elector, self.store, work)


async def run_alone(elector: Elector, store: ExchangeableStore, work: Run) -> None:
    """Run work while no other server can do it: from the first moment where the store is ours alone, then whenever elected."""
    begun: list[asyncio.Future[None]] = []
    if not store.shared:
        running, shared = asyncio.ensure_future(work()), asyncio.ensure_future(store.became_shared.wait())
        try:
            await asyncio.wait([running, shared], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                return
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            shared.cancel()
        begun.append(running)

    async def go_on() -> None:
        await (begun.pop() if begun else work())

    await elector.run(go_on)


async def keep_encrypted(store: SealedStore, keyring: Keyring) -> None:
    """Write again what is not encrypted with the newest key, now and whenever the file of keys changes."""
    changed = True
    while True:
        if changed:
            count = await store.rewrite()
            log.info("encrypted again", objects=count, key=keyring.current)
        await asyncio.sleep(KEYRING_SECONDS)
        try:
            changed = keyring.reload()
        except BadKeyring as error:
            changed = False
            log.error("keys not read, the old ones stay", error=str(error))


def stored_under(resource: str) -> str:
    """Return where the objects of a resource written as "plural" or "plural.group" are stored."""
    plural, _, group = resource.partition(".")
    return store_key(group, plural, Key("", "")).rstrip("/") + "/"


def audit_log(config: AuditConfig, data: Path) -> AuditLog | None:
    """Return the log of requests, None where it is switched off. Raises ConfigError, NoPolicy."""
    if not config.enabled:
        return None
    try:
        policy = audit_policy.load(Path(config.policy)) if config.policy else audit_policy.default()
    except OSError as error:
        raise NoPolicy(f"server.audit.policy: {config.policy}: {error.strerror}") from error
    return AuditLog(policy, LogFile(Path(config.directory) if config.directory else data / "audit", config.max_size, config.keep))


def _keep_loop_quick() -> None:
    """Keep Python's cycle collector and its other threads from holding up the event loop.

    10,000 pods are a million objects, to walk them is a second of standing still. JSON trees hold no cycles; the cycles of
    tracebacks and tasks die in the young generations, which are still collected.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 1_000_000)


def import_components(config: ClusterConfig) -> None:
    """Import what runs beside the API, in a thread: numpy alone takes a quarter of a second, in which the API answers already."""
    if "controllers" in config.server.run:
        from moorings_core.controllers import manager, volumes  # noqa: F401

        load("cloud", config.cloud.backend)
    if "scheduler" in config.server.run:
        from moorings_core.scheduler import scheduler  # noqa: F401


def components(server: ApiServer, config: ClusterConfig, authority: str, signer: TokenSigner, turn: Turn) -> dict[str, Run]:
    """Return what runs beside the API, by name; each in one server at a time."""
    found: dict[str, Run] = {}
    if "controllers" in config.server.run:
        from moorings_core.controllers.manager import Manager
        from moorings_core.controllers.volumes import volume_controllers

        client = server.client("system:kube-controller-manager")
        manager = Manager(client, config, ca=authority, sign=signer.sign, extra=volume_controllers())
        found["controllers"] = turn.of(client, "kube-controller-manager", manager.run)
        cloud = load("cloud", config.cloud.backend)
        controller = cloud.controller(server.client("system:cloud-controller-manager"), config)
        if controller is not None:
            found["cloud"] = turn.of(client, "cloud-controller-manager", controller.run)
    if "scheduler" in config.server.run:
        from moorings_core.scheduler.scheduler import Scheduler

        client = server.client("system:kube-scheduler")
        found["scheduler"] = turn.of(client, "kube-scheduler", Scheduler(client).run)
    return found


def prepare_pki(pki: Path, config: ClusterConfig, advertise: str) -> None:
    """Make what is missing: authority, serving certificate, the certificate that opens agents, an administrator's kubeconfig."""
    if all((pki / name).exists() for name in ("ca.crt", "server.crt", "agent-client.crt")):
        return
    authority = Authority.load_or_create(pki, config.name)
    first = str(ipaddress.ip_network(config.services.cidrs[0])[1])
    authority.issue("kube-apiserver", hosts=[advertise, "127.0.0.1", "localhost", first, *SERVICE_NAMES]).write(pki, "server")
    client = authority.issue("kube-apiserver-kubelet-client", organizations=["system:masters"])
    client.write(pki, "agent-client")
    admin = authority.issue("admin", organizations=["system:masters"])
    url = f"https://{advertise}:{config.server.port}"
    durable.write(pki / "admin.kubeconfig", kubeconfig(config.name, url, authority.cert_pem, "admin", admin))


def static_tokens(pki: Path) -> dict[str, User]:
    """Return the users of tokens.csv (token,user,uid,"group,group"), if there is one."""
    file = pki / "tokens.csv"
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        rows = [row for row in csv.reader(lines, skipinitialspace=True) if row]
    groups = {row[0]: tuple(row[3].split(",")) if len(row) > 3 else () for row in rows}
    return {row[0]: User(row[1], (*groups[row[0]], "system:authenticated"), row[2] if len(row) > 2 else "") for row in rows}


def _server_tls(pki: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _agent_tls(pki: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "agent-client.crt", pki / "agent-client.key")
    return context
