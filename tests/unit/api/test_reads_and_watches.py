"""Lists, pages, selectors and watches of one API in memory: no gap, no double, upstream's errors."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from moorings_core.api import cache as caches
from moorings_core.api.context import Context, WriteOptions, delete_options
from moorings_core.api.core import ApiCore
from moorings_core.api.reads import ListOptions
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.api.watches import INITIAL_END, Watcher, WatchOptions
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import AlreadyExists, ApiError, BadRequest, Conflict, Expired, Invalid, NotFound
from moorings_core.ports.objects import Key, Resource
from moorings_core.ports.store import Compacted
from moorings_core.store.memory import MemoryStore

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
MAPS = Resource("", "v1", "configmaps", "ConfigMap", True)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True)


class Api:
    """An API without transport."""

    def __init__(self, core):
        self.core = core

    async def put(self, name, labels=None, namespace="d", **metadata):
        body = {"metadata": {"name": name, "labels": labels or {}, **metadata}, "data": {"n": name}}
        return await self.core.writer.create(self.core.kind(MAPS), namespace, body, Context())

    async def patch(self, name, patch, namespace="d", kind="merge"):
        return await self.core.writer.patch(self.core.kind(MAPS), Key(namespace, name), patch, kind, Context())

    async def delete(self, name, namespace="d", **options):
        context = Context(options=WriteOptions(**options))
        return await self.core.writer.delete(self.core.kind(MAPS), Key(namespace, name), context)

    async def names(self, **options):
        listing = await self.core.reader.list(MAPS, ListOptions(**options))
        return [s.object["metadata"]["name"] for s in listing.items]

    async def watch(self, count, **options):
        """The first `count` events as (type, name or version)."""
        events = []
        watcher = Watcher(self.core.cache, MAPS, WatchOptions(**options))
        async with asyncio.timeout(10), contextlib.aclosing(watcher.events(self.core.reader)) as stream:
            async for event in stream:
                metadata = event.object["metadata"]
                events.append((event.type, metadata.get("name", ""), int(metadata["resourceVersion"])))
                if len(events) == count:
                    return events
        return events


@pytest.fixture
async def api(tmp_path):
    store = await MemoryStore.open(tmp_path, {})
    core = ApiCore(ClusterConfig(), store)
    await core.cache.load()
    following = asyncio.create_task(core.cache.follow())
    for name in ("d", "e"):
        await core.writer.create(core.kind(NAMESPACES), "", {"metadata": {"name": name}}, Context())
    yield Api(core)
    await store.close()
    await following


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", "abc"),
        ("x=1", "a"),
        ("x==1", "a"),
        ("x!=1", "bc"),
        ("x", "ab"),
        ("!x", "c"),
        ("x in (1,2)", "ab"),
        ("x notin (1)", "bc"),
        ("x,y", "b"),
        ("x=1,y", ""),
        ("x>1", "b"),
        ("x<2", "a"),
        ("y=", "b"),
    ],
)
async def test_label_selectors(api, labels, expected):
    for name, given in (("a", {"x": "1"}), ("b", {"x": "2", "y": ""}), ("c", {})):
        await api.put(name, given)
    assert "".join(await api.names(labels=labels)) == expected


@pytest.mark.parametrize("labels", ["==", "x in", "x in (", "a b", "x in 1", "x=1,,y"])
async def test_a_selector_that_is_none_is_refused(api, labels):
    with pytest.raises(BadRequest):
        await api.names(labels=labels)


async def test_field_selectors_and_namespaces(api):
    await api.put("a")
    await api.put("b")
    await api.put("a", namespace="e")
    assert await api.names(fields="metadata.name=a") == ["a", "a"]
    assert await api.names(fields="metadata.name!=a") == ["b"]
    assert await api.names(fields="metadata.namespace=e") == ["a"]
    assert await api.names(namespace="d") == ["a", "b"]
    with pytest.raises(BadRequest, match=r"field label not supported: data\.n"):
        await api.names(fields="data.n=a")


async def test_pages_are_of_one_moment_whatever_is_written_between_them(api):
    for number in range(7):
        await api.put(f"c{number}")
    first = await api.core.reader.list(MAPS, ListOptions("d", limit=3))
    assert (len(first.items), first.remaining) == (3, 4)
    await api.delete("c1")
    await api.delete("c5")
    await api.put("c9")
    await api.patch("c4", {"data": {"n": "late"}})
    names, token = [s.object["metadata"]["name"] for s in first.items], first.continue_
    while token:
        page = await api.core.reader.list(MAPS, ListOptions("d", limit=3, continue_=token))
        assert page.version == first.version
        names += [s.object["metadata"]["name"] for s in page.items]
        assert all(s.object["data"]["n"] != "late" for s in page.items)
        token = page.continue_
    assert names == [f"c{n}" for n in range(7)]


async def test_a_page_that_is_too_old_is_gone_and_says_how_to_go_on(api):
    for number in range(4):
        await api.put(f"c{number}")
    first = await api.core.reader.list(MAPS, ListOptions("d", limit=2))
    await api.put("late")
    await api.core.store.compact(api.core.store.revision)
    with pytest.raises(Expired) as caught:
        await api.core.reader.list(MAPS, ListOptions("d", limit=2, continue_=first.continue_))
    assert caught.value.code == 410
    token = caught.value.status()["metadata"]["continue"]
    rest = await api.core.reader.list(MAPS, ListOptions("d", limit=9, continue_=token))
    assert [s.object["metadata"]["name"] for s in rest.items] == ["c2", "c3", "late"]


async def test_a_list_waits_for_a_version_that_comes_and_refuses_one_that_does_not(api, monkeypatch):
    made = await api.put("a")
    version = int(made["metadata"]["resourceVersion"])
    waiting = asyncio.create_task(api.names(version=str(version + 1)))
    await asyncio.sleep(0)
    await api.put("b")
    assert await waiting == ["a", "b"]
    monkeypatch.setattr("moorings_core.api.reads.NEWEST_WAIT", 0.01)
    with pytest.raises(ApiError, match="Too large resource version") as caught:
        await api.names(version=str(version + 1000))
    assert (caught.value.code, caught.value.status()["details"]["retryAfterSeconds"]) == (504, 1)


async def test_an_exact_version_shows_the_past(api):
    made = await api.put("a")
    await api.put("b")
    await api.patch("a", {"data": {"n": "new"}})
    listing = await api.core.reader.list(MAPS, ListOptions("d", version=made["metadata"]["resourceVersion"], match="Exact"))
    assert [s.object["data"]["n"] for s in listing.items] == ["a"]


async def test_a_watch_with_a_selector_sees_things_come_and_go(api):
    since = str(api.core.cache.revision)
    await api.put("a", {"pick": "no"})
    steps = [({"pick": "me"}, "ADDED"), ({"pick": "me", "x": "1"}, "MODIFIED"), ({"pick": "no"}, "DELETED"), ({"pick": "me"}, "ADDED")]
    versions = []
    for labels, _ in steps:
        changed = await api.patch("a", {"metadata": {"labels": labels | ({} if "x" in labels else {"x": None})}})
        versions.append(int(changed["metadata"]["resourceVersion"]))
    await api.delete("a")
    events = await api.watch(5, labels="pick=me", version=since)
    assert [e[0] for e in events] == [*(kind for _, kind in steps), "DELETED"]
    assert [e[2] for e in events[:4]] == versions, "each carries the version of its own change"
    assert events[4][2] == api.core.cache.revision


async def test_an_agent_is_told_of_the_pods_of_its_node_and_woken_for_no_other(api):
    accounts = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
    await api.core.writer.create(api.core.kind(accounts), "d", {"metadata": {"name": "default"}}, Context())
    pods = api.core.kind(Resource("", "v1", "pods", "Pod", True))
    watcher = Watcher(api.core.cache, pods.resource, WatchOptions(fields="spec.nodeName=n1", version=str(api.core.cache.revision)))
    stream = watcher.events(api.core.reader)
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    for name in ("a", "b"):
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await api.core.writer.create(pods, "d", body, Context())
    for name, node in (("b", "n2"), ("a", "n1")):
        target = {"metadata": {"name": name}, "target": {"name": node}}
        await api.core.create_subresource(pods.resource, Key("d", name), "binding", target, Context())
    bound = await first
    assert (bound.type, bound.object["metadata"]["name"]) == ("ADDED", "a")
    await api.core.writer.delete(pods, Key("d", "b"), Context(options=WriteOptions(grace=0)))
    await api.core.writer.delete(pods, Key("d", "a"), Context(options=WriteOptions(grace=0)))
    gone = await anext(stream)
    assert (gone.type, gone.object["metadata"]["name"]) == ("DELETED", "a")
    await stream.aclose()


async def test_a_watch_from_nothing_or_zero_begins_with_what_is_there(api):
    await api.put("a")
    for version in ("", "0"):
        assert [e[:2] for e in await api.watch(1, version=version)] == [("ADDED", "a")]


async def test_a_streaming_list_ends_with_the_marked_bookmark(api):
    await api.put("a")
    await api.put("b")
    watcher = Watcher(api.core.cache, MAPS, WatchOptions(bookmarks=True, initial_events=True))
    seen = []
    async with contextlib.aclosing(watcher.events(api.core.reader)) as stream:
        async for event in stream:
            seen.append(event)
            if event.type == "BOOKMARK":
                break
    assert [e.type for e in seen] == ["ADDED", "ADDED", "BOOKMARK"]
    assert seen[-1].object["metadata"]["annotations"] == {INITIAL_END: "true"}
    assert seen[-1].object["metadata"]["resourceVersion"] == str(api.core.cache.revision)
    assert seen[-1].object["kind"] == "ConfigMap"


async def test_bookmarks_move_on_when_nothing_happens_here(api, monkeypatch):
    monkeypatch.setattr("moorings_core.api.watches.BOOKMARK_SECONDS", 0.01)
    version = str(api.core.cache.revision)
    await api.core.writer.create(api.core.kind(NAMESPACES), "", {"metadata": {"name": "f"}}, Context())
    events = await api.watch(1, version=version, bookmarks=True)
    assert events == [("BOOKMARK", "", api.core.cache.revision)]


async def test_a_watch_of_forgotten_history_is_gone(api, monkeypatch):
    monkeypatch.setattr(caches, "HISTORY", 5)
    await api.put("a")
    since = str(api.core.cache.revision)
    for number in range(caches.HISTORY + 1):
        await api.patch("a", {"data": {"n": str(number)}})
    with pytest.raises(Expired, match="too old resource version"):
        await api.watch(1, version=since)


async def test_a_watcher_that_does_not_read_is_let_go(api, monkeypatch):
    monkeypatch.setattr("moorings_core.api.watches.BACKLOG_MOST", 3)
    watcher = Watcher(api.core.cache, MAPS, WatchOptions(version=str(api.core.cache.revision)))
    stream = watcher.events(api.core.reader)
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    for number in range(6):
        await api.put(f"c{number}")
    assert (await first).type == "ADDED"
    rest = [event async for event in stream]
    assert len(rest) < 5, "it ends, and the client lists again"


async def test_many_watchers_see_every_change_once_and_in_order(api):
    since = str(api.core.cache.revision)
    watching = [asyncio.create_task(api.watch(60, version=since)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(*(api.put(f"c{number}") for number in range(30)))
    await asyncio.gather(*(api.patch(f"c{number}", {"data": {"n": "x"}}) for number in range(30)))
    seen = await asyncio.gather(*watching)
    assert all(events == seen[0] for events in seen)
    versions = [version for _, _, version in seen[0]]
    assert versions == sorted(set(versions))
    assert sorted(kind for kind, _, _ in seen[0]) == ["ADDED"] * 30 + ["MODIFIED"] * 30


async def test_concurrent_patches_of_different_fields_all_win(api):
    await api.put("a")
    patches = [api.patch("a", {"metadata": {"annotations": {f"k{n}": "v"}}}) for n in range(64)]
    await asyncio.gather(*patches)
    found = api.core.reader.get(MAPS, Key("d", "a")).object["metadata"]["annotations"]
    assert found == {f"k{n}": "v" for n in range(64)}


async def test_an_empty_change_is_no_change(api):
    before = await api.put("a", {"x": "1"})
    after = await api.patch("a", {"metadata": {"labels": {"x": "1"}}})
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert api.core.cache.revision == int(before["metadata"]["resourceVersion"])


async def test_of_two_updates_of_one_version_one_is_refused(api):
    old = await api.put("a")
    kind = api.core.kind(MAPS)
    results = await asyncio.gather(
        *(api.core.writer.update(kind, Key("d", "a"), {**old, "data": {"n": str(n)}}, Context()) for n in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["Conflict", "dict"]


async def test_what_a_deletion_finds_gone_can_not_be_read_after_it(api):
    for n in range(20):
        await api.put(f"c{n}")

        async def deleted(name):
            with contextlib.suppress(NotFound):
                await api.delete(name)
            assert name not in await api.names(namespace="d")

        await asyncio.gather(*(deleted(f"c{n}") for _ in range(3)))


async def test_what_a_creation_finds_there_can_be_read_after_it(api):
    async def made(name):
        with contextlib.suppress(AlreadyExists):
            await api.put(name)
        assert name in await api.names(namespace="d")

    await asyncio.gather(*(made(f"c{n % 5}") for n in range(20)))


async def test_deletion_keeps_its_preconditions_and_finalizers(api):
    made = await api.put("a", finalizers=["x/y"])
    for wrong in ({"uid": "other"}, {"version": "1"}):
        with pytest.raises(Conflict):
            await api.delete("a", **wrong)
    marked, gone = await api.delete("a", uid=made["metadata"]["uid"])
    assert not gone and marked["metadata"]["deletionTimestamp"]
    with pytest.raises(Invalid, match="no new finalizers"):
        await api.patch("a", {"metadata": {"finalizers": ["x/y", "x/z"]}})
    with pytest.raises(AlreadyExists):
        await api.put("a")
    await api.patch("a", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        api.core.reader.get(MAPS, Key("d", "a"))
    assert (await api.put("a"))["metadata"]["uid"] != made["metadata"]["uid"]


async def test_generated_names_are_new_each_time(api):
    made = [await api.put("", generateName="job-") for _ in range(20)]
    names = {m["metadata"]["name"] for m in made}
    assert len(names) == 20
    assert all(len(n) == len("job-") + 5 and n.startswith("job-") for n in names)


async def test_status_and_spec_are_written_apart_and_generation_counts_specs(api):
    kind, key = api.core.kind(DEPLOYMENTS), Key("d", "w")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await api.core.writer.create(kind, "d", {"metadata": {"name": "w"}, "spec": spec, "status": {"replicas": 9}}, Context())
    assert (made["metadata"]["generation"], made["status"]) == (1, {})

    async def write(change, subresource=""):
        return await api.core.writer.patch(kind, key, change, "merge", Context(), subresource)

    both = {"spec": {"replicas": 5}, "status": {"replicas": 7}}
    after = await write(both, "status")
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (1, {"replicas": 7}, 1)
    after = await write(both | {"status": {"replicas": 8}})
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (5, {"replicas": 7}, 2)
    after = await write({"metadata": {"labels": {"x": "y"}}})
    assert after["metadata"]["generation"] == 2


async def test_a_scale_is_read_written_and_checked(api):
    kind, key = api.core.kind(DEPLOYMENTS), Key("d", "w")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await api.core.writer.create(kind, "d", {"metadata": {"name": "w"}, "spec": spec}, Context())
    scale = await api.core.get(DEPLOYMENTS, key, "scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "a=b")
    after = await api.core.update_scale(DEPLOYMENTS, key, {**scale, "spec": {"replicas": 5}}, Context())
    assert after["spec"]["replicas"] == 5
    with pytest.raises(Conflict):
        await api.core.update_scale(DEPLOYMENTS, key, {**scale, "spec": {"replicas": 6}}, Context())
    with pytest.raises(Invalid, match=r'Scale\.autoscaling "w" is invalid: spec\.replicas: Invalid value: -1'):
        await api.core.update_scale(DEPLOYMENTS, key, {"spec": {"replicas": -1}}, Context())


async def test_a_dry_run_tells_and_stores_nothing(api):
    context = Context(options=WriteOptions(dry_run=True))
    kind = api.core.kind(MAPS)
    told = await api.core.writer.create(kind, "d", {"metadata": {"generateName": "x-"}, "data": {}}, context)
    assert told["metadata"]["name"].startswith("x-")
    assert await api.names() == []
    await api.put("a")
    changed = await api.core.writer.patch(kind, Key("d", "a"), {"data": {"n": "new"}}, "merge", context)
    assert changed["data"] == {"n": "new"}
    await api.core.writer.delete(kind, Key("d", "a"), context)
    assert api.core.reader.get(MAPS, Key("d", "a")).object["data"] == {"n": "a"}


async def test_the_server_lets_the_store_forget_old_history(tmp_path, monkeypatch):
    monkeypatch.setattr("moorings_core.api.server.HISTORY_STEP", 0.01)
    store = await MemoryStore.open(tmp_path, {})
    signer = TokenSigner.load_or_create(tmp_path / "sa.key", "test")
    server = ApiServer(ServerOptions(ClusterConfig(), "", signer, "127.0.0.1"), store)
    await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    await store.list("", at=1)
                except Compacted:
                    break
                await asyncio.sleep(0.01)
        assert (await store.list("core/namespaces/")).records, "what is there stays"
    finally:
        await server.close()


PODS = Resource("", "v1", "pods", "Pod", True)
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)


async def pod_of(api, **spec):
    """A pod that the API has."""
    await api.core.writer.create(api.core.kind(ACCOUNTS), "d", {"metadata": {"name": "default"}}, Context())
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}
    return await api.core.writer.create(api.core.kind(PODS), "d", body, Context())


async def test_a_binding_says_that_the_pod_is_scheduled_and_is_no_new_generation(api):
    await pod_of(api)
    key, binding = Key("d", "p"), {"target": {"name": "n"}}
    await api.core.create_subresource(PODS, key, "binding", binding, Context())
    bound = await api.core.get(PODS, key)
    assert bound["spec"]["nodeName"] == "n"
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    assert bound["metadata"]["generation"] == 1
    with pytest.raises(Conflict, match='pods/binding "p": pod p is already assigned to node "n"'):
        await api.core.create_subresource(PODS, key, "binding", binding, Context())


async def test_an_eviction_is_written_on_the_pod_that_it_ends(api):
    await pod_of(api, nodeName="n")
    key = Key("d", "p")
    with pytest.raises(BadRequest, match="name in URL does not match name in Eviction object"):
        await api.core.create_subresource(PODS, key, "eviction", {"metadata": {"name": "other"}}, Context())
    await api.core.create_subresource(PODS, key, "eviction", {"metadata": {"name": "p"}}, Context())
    evicted = await api.core.get(PODS, key)
    assert evicted["metadata"]["deletionGracePeriodSeconds"] == 30
    assert [(c["type"], c["reason"]) for c in evicted["status"]["conditions"]] == [("DisruptionTarget", "EvictionByEvictionAPI")]


async def test_a_second_shorter_deletion_is_no_new_generation(api):
    await pod_of(api, nodeName="n")
    kind, key = api.core.kind(PODS), Key("d", "p")
    first, _ = await api.core.writer.delete(kind, key, Context())
    second, gone = await api.core.writer.delete(kind, key, Context(options=WriteOptions(grace=3)))
    assert not gone
    assert [o["metadata"]["deletionGracePeriodSeconds"] for o in (first, second)] == [30, 3]
    assert [o["metadata"]["generation"] for o in (first, second)] == [2, 2]


async def test_ephemeral_containers_come_by_their_own_path_alone(api):
    await pod_of(api)
    kind, key = api.core.kind(PODS), Key("d", "p")
    patch = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}
    with pytest.raises(Invalid, match="pod updates may not change fields other than"):
        await api.core.writer.patch(kind, key, patch, "strategic", Context())
    made = await api.core.writer.patch(kind, key, patch, "strategic", Context(), "ephemeralcontainers")
    assert [c["name"] for c in made["spec"]["ephemeralContainers"]] == ["e"]


async def test_tolerations_of_the_cluster_stay_when_a_client_replaces_its_own(api):
    await pod_of(api)
    patch = {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}}
    after = await api.core.writer.patch(api.core.kind(PODS), Key("d", "p"), patch, "merge", Context())
    keys = [t["key"] for t in after["spec"]["tolerations"]]
    assert keys == ["a", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]


async def test_who_changes_a_scale_manages_it_there(api):
    kind, key = api.core.kind(DEPLOYMENTS), Key("d", "w")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    config = {"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    await api.core.writer.apply(kind, key, config, Context(options=WriteOptions(field_manager="one")))
    await api.core.update_scale(DEPLOYMENTS, key, {"spec": {"replicas": 5}}, Context(options=WriteOptions(field_manager="two")))
    managed = (await api.core.get(DEPLOYMENTS, key))["metadata"]["managedFields"]
    assert [m.get("subresource") for m in managed if m["manager"] == "two"] == ["scale"]


async def test_an_apply_without_a_manager_or_with_another_name_is_refused(api):
    kind, key = api.core.kind(MAPS), Key("d", "m")
    with pytest.raises(Invalid, match="fieldManager: Required value: is required for apply patch"):
        await api.core.writer.apply(kind, key, {"metadata": {"name": "m"}}, Context())
    with pytest.raises(BadRequest, match="does not match the name on the URL"):
        await api.core.writer.apply(kind, key, {"metadata": {"name": "n"}}, Context(options=WriteOptions(field_manager="one")))


@pytest.mark.parametrize(
    ("patch", "kind"), [({"date": {}}, "merge"), ([{"op": "add", "path": "/date", "value": {}}], "json"), ({"date": {}}, "strategic")]
)
async def test_an_unknown_field_that_a_patch_brings_is_a_wrong_patch_where_strictness_is_asked_for(api, patch, kind):
    await api.put("m")
    strict = Context(options=WriteOptions(field_validation="Strict"))
    with pytest.raises(Invalid, match=r'patch: Invalid value: .*strict decoding error: unknown field "date"'):
        await api.core.writer.patch(api.core.kind(MAPS), Key("d", "m"), patch, kind, strict)
    assert "date" not in await api.patch("m", patch, kind=kind)


def test_a_propagation_that_is_none_is_refused():
    with pytest.raises(Invalid, match='propagationPolicy: Unsupported value: "Sideways"'):
        delete_options({"propagationPolicy": "Sideways"}, WriteOptions())
