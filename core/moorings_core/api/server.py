"""The API server: puts the parts together, fills an empty cluster, listens."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from moorings_core.client.local import LocalClient
from moorings_core.client.resources import SECRETS
from moorings_core.log import get_logger
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.client import Write
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.ports.store import Store, StoreError

from .access import born
from .access.accounts import Accounts
from .access.authorizer import Access
from .access.expressions import asker
from .access.guards import Guards
from .access.last_used import LastUsed
from .access.node import NodeAuthorizer
from .access.oidc import Issuer
from .access.rbac import Rbac
from .audit.log import AuditLog
from .authentication import Authenticator
from .bootstrap import create_missing, objects, token_tracking
from .context import MASTERS, SYSTEM, User
from .core import ApiCore
from .extension.aggregation import Aggregator
from .extension.definitions import Definitions
from .extension.proxy_identity import CONFIG_MAP, ProxyIdentity
from .flowcontrol.control import FlowControl
from .flowcontrol.dangling import Dangling
from .handler import Handler
from .http.server import HttpServer
from .metrics import Metrics
from .nodes import NodeRelay
from .reviews import Reviews
from .statics import Statics
from .tunnels import Tunnels

log = get_logger(__name__)
AUDIENCE = "https://kubernetes.default.svc.cluster.local"
LAG_SECONDS = 0.5
HISTORY_STEP, HISTORY_STEPS = 60.0, 5
"""Every minute the store forgets what is older than five: lists that are paged, and watches that begin again, have so long."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """tls serves clients, agent_tls opens the doors of node agents; tokens maps static bearer tokens to users; audit None: nothing."""

    config: ClusterConfig
    cluster_file: str
    signer: TokenSigner
    advertise: str
    tls: ssl.SSLContext | None = None
    agent_tls: ssl.SSLContext | None = None
    tokens: Mapping[str, User] = field(default_factory=dict)
    audit: AuditLog | None = None
    proxy_identity: ProxyIdentity | None = None
    """Who the server is to aggregated API servers; None: somebody new at each start"""


class ApiServer:
    """One API server on one store."""

    def __init__(self, options: ServerOptions, store: Store) -> None:
        self._options = options
        self.core = ApiCore(options.config, store)
        self._metrics = Metrics()
        self._follower: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False
        cache = self.core.cache
        accounts = Accounts(cache, options.signer, (AUDIENCE,))
        self._last_used = LastUsed(self.core.writer, self.core.kind(SECRETS))
        accounts.used = self._last_used.note
        issuers = [Issuer(config) for config in options.config.server.oidc]
        authenticator = Authenticator(cache, accounts, options.tokens, issuers)
        rbac = Rbac(cache)
        access = Access({"node": NodeAuthorizer(cache, born.node_rules()), "rbac": rbac})
        self.core.admission.authorize_by(asker(access))
        reviews = Reviews(cache, authenticator, accounts, access, rbac)
        checks = {"ping": lambda: "", "store": self._store_problem, "poststarthook": self._start_problem}
        statics = Statics(self.core.registry, options.signer, self._metrics, checks)
        relay = NodeRelay(options.agent_tls)
        self._identity = options.proxy_identity or ProxyIdentity.create()
        core = self.core
        self._aggregator = Aggregator(core.cache, core.registry, core.writer, core.dialer, self._identity, statics.forget)
        self.core.dialer.ways = Tunnels(cache, relay)
        guards = Guards(access, rbac, cache)
        self._audit = options.audit
        if options.audit is not None:
            self._metrics.count_audit(options.audit)
        self._flows = FlowControl(cache, self._metrics.registry)
        self._dangling = Dangling(cache, core.registry, core.writer)
        self._metrics.looks.append(self._flows.metrics.look)
        self._definitions = Definitions(self.core.cache, self.core.registry, self.core.writer, lambda: self._changed(statics))
        handler = Handler(
            self.core,
            authenticator,
            access,
            guards,
            options.audit,
            reviews,
            relay,
            statics,
            self._metrics,
            self._definitions,
            self._flows,
            self._aggregator,
        )
        self._http = HttpServer(handler)

    async def start(self, host: str | None, port: int) -> int:
        """Load the store, make what a cluster must have, listen; return the port."""
        await self.core.cache.load()
        self._definitions.start()
        self._flows.start()
        self._dangling.start()
        self._aggregator.start()
        self._follower = asyncio.create_task(self.core.cache.follow())
        beside = (
            self._definitions.run(),
            self._aggregator.run(),
            self._dangling.run(),
            self._flows.run(),
            self._measure_lag(),
            self._compact(),
        )
        self._tasks = [self._follower, *map(asyncio.create_task, beside)]
        if self._audit is not None:
            self._audit.start()
        bound = await self._http.start(host, port, self._options.tls)
        wanted = objects(self._options.config, self._options.cluster_file, self._options.advertise, bound)
        wanted += [(CONFIG_MAP, self._identity.config_map()), token_tracking(datetime.now(UTC).date())]
        client = self.client("system:apiserver")
        await create_missing(client, wanted)
        await _commit(client, born.plan(self._stored))
        self._ready = True
        return bound

    def client(self, user: str) -> LocalClient:
        """Return a client for a component in this process.

        It carries the component's own name into managed fields and admission, and no authorizer is asked: a component that shares
        the server's memory could not be held by one.
        """
        groups = (MASTERS,) if user == SYSTEM.name else ()
        return LocalClient(self.core, User(user, (*groups, "system:authenticated")))

    async def close(self) -> None:
        """Stop serving and close the store."""
        await self._http.close()
        await self._last_used.close()
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)
        await self.core.store.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _changed(self, statics: Statics) -> None:
        """Tell whoever shows what is served that it is something else now."""
        statics.forget()
        self._aggregator.wake()

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_SECONDS)
            self._metrics.loop_lag.set(time.monotonic() - before - LAG_SECONDS)

    async def _compact(self) -> None:
        """Let the store forget old history for ever, minute by minute."""
        marks: deque[int] = deque(maxlen=HISTORY_STEPS + 1)
        while True:
            marks.append(self.core.store.revision)
            if len(marks) > HISTORY_STEPS:
                try:
                    await self.core.store.compact(marks[0])
                except StoreError as error:
                    log.warning("history not compacted", error=str(error))
            await asyncio.sleep(HISTORY_STEP)

    def _stored(self, resource: Resource, namespace: str, name: str) -> Object | None:
        found = self.core.cache.collection(resource.group, resource.plural).get(Key(namespace, name))
        return None if found is None else found.object

    def _store_problem(self) -> str:
        if self._follower is None or not self._follower.done():
            return ""
        return "the store is closed"

    def _start_problem(self) -> str:
        return "" if self._ready else "not started yet"


async def _commit(client: LocalClient, writes: Sequence[Write]) -> None:
    """Write what a new cluster has, or an old one lacks, in one commit; another server may have been faster."""
    for answer in await client.commit(writes):
        if isinstance(answer, ApiError) and not isinstance(answer, AlreadyExists | Conflict):
            raise answer
