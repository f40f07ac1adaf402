"""An API server's rules in memory, and controllers on lagging caches of it, stepped in an order that a seed decides.

What is kept of the real rules: uids, one resourceVersion counter, Conflict, generation, finalizers, graceful deletion of pods on
nodes, propagation, generateName, status and finalize apart from the rest. Watches deliver late, each resource in order.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from moorings_core.client.resources import DEPLOYMENTS, NAMESPACES, PODS
from moorings_core.controllers.framework import Cache, Controller, Loop
from moorings_core.ports.client import Create, Delete, ObjectList, Patch, Update
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound, ServiceUnavailable
from moorings_core.ports.objects import Key, Object, Resource, key_of

START = datetime(2030, 1, 1, tzinfo=UTC)


class Api:
    """The store with the API's rules; a `ports.client.Client` as far as controllers need one."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.objects: dict[Resource, dict[Key, Object]] = {}
        self.log: list[tuple[Resource, Object | None, Object | None]] = []
        self.version, self._uids = 100, itertools.count(1)
        self.now = START
        self.refuse: Callable[[object], ApiError | None] = lambda write: None
        self.observer: Callable[[], None] = lambda: None

    def all(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Return the stored objects."""
        found = self.objects.get(resource, {}).values()
        return [obj for obj in found if not namespace or obj["metadata"].get("namespace") == namespace]

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        return self.read(resource, name, namespace)

    async def list(self, resource: Resource, namespace: str = "", **_: object) -> ObjectList:
        return ObjectList(self.all(resource, namespace), str(self.version))

    async def commit(self, writes: Sequence[object]) -> Sequence[Object | ApiError]:
        order, results = list(range(len(writes))), {}
        self.random.shuffle(order)
        for index in order:
            try:
                results[index] = self.write(writes[index])
            except ApiError as error:
                results[index] = error
        return [results[index] for index in range(len(writes))]

    def read(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """Return one object. Raises NotFound."""
        try:
            return self.objects.setdefault(resource, {})[Key(namespace if resource.namespaced else "", name)]
        except KeyError:
            raise NotFound(f'{resource.plural} "{name}" not found') from None

    def write(self, write: object) -> Object:
        """Do one write. Raises ApiError."""
        if error := self.refuse(write):
            raise error
        match write:
            case Create():
                return self.create(write.resource, write.object)
            case Update():
                return self.update(write.resource, write.object, write.subresource)
            case Patch():
                current = self.read(write.resource, write.name, write.namespace)
                merged = merge(current, write.patch)
                merged["metadata"].setdefault("resourceVersion", current["metadata"]["resourceVersion"])
                return self.update(write.resource, merged, write.subresource)
            case Delete():
                self.delete(write.resource, write.name, write.namespace, write.uid, write.grace, write.propagation)
                return {}
        raise TypeError(write)

    def create(self, resource: Resource, obj: Object) -> Object:
        """Create an object."""
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        home = self.objects.get(NAMESPACES, {}).get(Key("", metadata.get("namespace", "")))
        if home is not None and home["metadata"].get("deletionTimestamp"):
            raise Forbidden("it is being terminated", details={"causes": [{"reason": "NamespaceTerminating"}]})
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + f"{self.random.getrandbits(40):010x}"[:5]
        key = key_of(obj)
        if key in self.objects.setdefault(resource, {}):
            raise AlreadyExists(f"{key} exists")
        metadata |= {"uid": f"uid-{next(self._uids):05}", "generation": 1, "creationTimestamp": stamp(self.now)}
        if resource == NAMESPACES:
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
        return self._store(resource, key, obj)

    def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace an object, or its status."""
        key = key_of(obj)
        current = self.read(resource, key.name, key.namespace)
        given, known = obj["metadata"], current["metadata"]
        if given.get("uid") and given["uid"] != known["uid"]:
            raise Conflict("uid is another")
        if given.get("resourceVersion") and given["resourceVersion"] != known["resourceVersion"]:
            raise Conflict("the object has been modified")
        new = copy.deepcopy(current if subresource else obj)
        if subresource == "status":
            new["status"] = copy.deepcopy(obj.get("status", {}))
            if resource == DEPLOYMENTS and given.get("annotations"):
                new["metadata"]["annotations"] = copy.deepcopy(given["annotations"])
        elif subresource == "finalize":
            new["spec"] = copy.deepcopy(obj["spec"])
        elif not subresource:
            if "status" in current:
                new["status"] = copy.deepcopy(current["status"])
            for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp"):
                new["metadata"].pop(name, None)
                if name in known:
                    new["metadata"][name] = known[name]
            annotated = resource == DEPLOYMENTS and given.get("annotations") != known.get("annotations")
            if new.get("spec") != current.get("spec") or annotated:
                new["metadata"]["generation"] += 1
            fresh = set(new["metadata"].get("finalizers") or ()) - set(known.get("finalizers") or ())
            if fresh and known.get("deletionTimestamp"):
                raise Invalid("no new finalizers can be added if the object is being deleted")
        if strip(new) == strip(current):
            return current
        if self._is_over(resource, new):
            return self._remove(resource, key)
        return self._store(resource, key, new)

    def delete(self, resource: Resource, name: str, namespace: str = "", uid: str = "", grace: int | None = None, how: str = "") -> None:
        """Delete an object: at once, or by marking it until its finalizers and its grace are over."""
        current = self.read(resource, name, namespace)
        if uid and current["metadata"]["uid"] != uid:
            raise Conflict("uid is another")
        new = copy.deepcopy(current)
        metadata = new["metadata"]
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(how)
        if extra and extra not in metadata.get("finalizers", ()):
            metadata["finalizers"] = [*metadata.get("finalizers", ()), extra]
        running = resource == PODS and new["spec"].get("nodeName") and phase(new) not in ("Succeeded", "Failed")
        metadata["deletionGracePeriodSeconds"] = 0 if grace == 0 or not running else 30
        metadata.setdefault("deletionTimestamp", stamp(self.now))
        if self._is_over(resource, new):
            self._remove(resource, key_of(new))
        elif strip(new) != strip(current):
            self._store(resource, key_of(new), new)

    @staticmethod
    def _is_over(resource: Resource, obj: Object) -> bool:
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
            return False
        if resource == NAMESPACES:
            return not obj["spec"].get("finalizers")
        return not metadata.get("deletionGracePeriodSeconds")

    def _store(self, resource: Resource, key: Key, new: Object) -> Object:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        old = self.objects.setdefault(resource, {}).get(key)
        self.objects[resource][key] = new
        self.log.append((resource, old, new))
        self.observer()
        return new

    def _remove(self, resource: Resource, key: Key) -> Object:
        self.version += 1
        old = self.objects[resource].pop(key)
        self.log.append((resource, old, None))
        self.observer()
        return old


class Silent:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        self.told.append((type, reason, message))


@dataclass
class World:
    """Controllers on an API, with a clock of their own."""

    api: Api
    controllers: Sequence[Controller]
    lag: int = 0
    recorder: Silent = field(default_factory=Silent)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew from a list, as after a crash: nothing in memory survives."""
        clock = lambda: (self.api.now - START).total_seconds()  # noqa: E731
        resources = {watch.resource: None for c in self.controllers for watch in c.watches()}
        self.caches = {resource: Cache(resource, clock) for resource in resources}
        self.loops = [
            Loop(c, self.caches, self.api, self.recorder, clock=clock, now=lambda: self.api.now)  # type: ignore[arg-type]
            for c in self.controllers
        ]
        for resource, cache in self.caches.items():
            for obj in self.api.all(resource):
                cache.observe(None, obj)
        self.seen = dict.fromkeys(resources, len(self.api.log))
        for loop in self.loops:
            loop.subscribe()

    def deliver(self, resource: Resource, most: int) -> bool:
        """Bring up to `most` entries of the log to one cache; return whether there were any of its own."""
        cache, moved = self.caches[resource], False
        while self.seen[resource] < len(self.api.log) and most:
            of, old, new = self.api.log[self.seen[resource]]
            self.seen[resource] += 1
            if of == resource:
                cache.observe(old, new)
                moved, most = True, most - 1
        return moved

    async def step(self, loop: Loop) -> bool:
        """One tick of one controller; return whether it did anything."""
        batch = loop.plan()
        await loop.apply(batch)
        return bool(batch.keys)

    async def settle(self, most: int = 2000) -> None:
        """Run everything until nothing moves; time stands still but for backoffs."""
        for _ in range(most):
            moved = [self.deliver(resource, 10**6) for resource in self.caches]
            worked = [await self.step(loop) for loop in self.loops]
            if not any(moved) and not any(worked) and not self._soon():
                return
        raise AssertionError("does not come to rest")

    def _soon(self) -> bool:
        """Jump to the next retry if it is near (a backoff); longer timers are the test's to advance."""
        clock = (self.api.now - START).total_seconds()
        due = [d for loop in self.loops if (d := loop.queue.next_due()) is not None and d - clock < 0.9]
        if due:
            self.api.now += timedelta(seconds=max(min(due) - clock, 0) + 1e-4)
        return bool(due)

    async def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.api.now += timedelta(seconds=seconds)
        await self.settle()

    async def storm(self, rng: random.Random, steps: int, chance: Callable[[], None]) -> None:
        """Random interleaving: late watches, controllers in any order, crashes, refused writes, and what `chance` does."""
        loops = list(range(len(self.loops)))
        for _ in range(steps):
            match rng.random():
                case x if x < 0.35:
                    self.deliver(rng.choice(list(self.caches)), rng.randint(1, 5))
                case x if x < 0.75:
                    await self.step(self.loops[rng.choice(loops)])
                case x if x < 0.77:
                    self.restart()
                case x if x < 0.79:
                    await self._crash_in_commit(rng)
                case x if x < 0.82:
                    self.api.now += timedelta(seconds=rng.random())
                case _:
                    chance()

    async def _crash_in_commit(self, rng: random.Random) -> None:
        """Some writes of a tick are done, then the process dies before it learns of any."""
        loop = rng.choice(self.loops)
        batch = loop.plan()
        for _, result in batch.results:
            for intent in result.intents:
                if rng.random() < 0.5:
                    try:
                        self.api.write(intent.write)
                    except ApiError:
                        pass
        self.restart()


def unavailable(write: object) -> ApiError:
    """A refusal for `Api.refuse`."""
    return ServiceUnavailable("not now")


def strip(obj: Object) -> Object:
    """An object without its version."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}}


def merge(target: object, patch: object) -> Object:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch  # type: ignore[return-value]
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def stamp(when: datetime) -> str:
    """A metav1.Time."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(pod: Object) -> str:
    """status.phase"""
    return str(pod.get("status", {}).get("phase", "Pending"))


class Kubelet:
    """What nodes do to pods, one random deed at a time, or all at once."""

    def __init__(self, api: Api, nodes: Sequence[str] = ("n1", "n2", "n3")) -> None:
        self.api, self.nodes = api, nodes

    def start(self, pod: Object, ready: bool = True) -> None:
        """Place and start a pod."""
        fresh = self.api.read(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])
        if not fresh["spec"].get("nodeName"):
            fresh = self.api.update(PODS, {**fresh, "spec": {**fresh["spec"], "nodeName": self.api.random.choice(self.nodes)}})
        self.report(fresh, "Running", ready)

    def report(self, pod: Object, phase: str, ready: bool = False) -> None:
        """Write a pod's status."""
        fresh = self.api.read(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(self.api.now)}
        ip = f"10.0.0.{int(fresh['metadata']['uid'][-5:]) % 250 + 1}"
        self.api.update(PODS, {**fresh, "status": {"phase": phase, "conditions": [condition], "podIP": ip}}, "status")

    def stop(self, pod: Object) -> None:
        """Finish a graceful deletion."""
        self.api.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)

    def all_ready(self) -> bool:
        """Stop what is to stop, start what is not ready; return whether anything was done."""
        done = False
        for pod in self.api.all(PODS):
            if pod["metadata"].get("deletionTimestamp") and pod["metadata"].get("deletionGracePeriodSeconds"):
                self.stop(pod)
                done = True
            elif not pod["metadata"].get("deletionTimestamp") and phase(pod) == "Pending":
                self.start(pod)
                done = True
        return done

    def some_deed(self, rng: random.Random, finish: Sequence[str] = ()) -> None:
        """Do one thing to one pod."""
        pods = self.api.all(PODS)
        if not pods:
            return
        pod = rng.choice(pods)
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            if metadata.get("deletionGracePeriodSeconds"):
                self.stop(pod)
        elif phase(pod) == "Pending":
            self.start(pod, rng.random() < 0.8)
        elif phase(pod) == "Running" and finish and rng.random() < 0.6:
            self.report(pod, rng.choice(list(finish)))
        elif phase(pod) == "Running":
            self.report(pod, "Running", rng.random() < 0.8)
