"""Garbage collection and namespace deletion."""

from __future__ import annotations

import random

import pytest

from moorings_core.client.resources import CONFIG_MAPS, DEPLOYMENTS, EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, SECRETS
from moorings_core.controllers.garbagecollector import GarbageCollector
from moorings_core.controllers.manager import deletable
from moorings_core.controllers.namespace import NamespaceController
from moorings_core.registry.kinds import built_in

from .simulator import Api, Kubelet, World

KINDS = [CONFIG_MAPS, DEPLOYMENTS, REPLICA_SETS, PODS, SECRETS, NODES]


def world(seed=0):
    api = Api(seed)
    return api, World(api, [GarbageCollector(KINDS)])


def make(api, resource, name, *owners, block=True, namespace="d", **metadata):
    references = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for o in owners
    ]
    meta = {"name": name, **({"namespace": namespace} if resource.namespaced else {}), **metadata}
    return api.create(resource, {"metadata": meta | ({"ownerReferences": references} if references else {}), "spec": {}})


def names(api, resource=CONFIG_MAPS):
    return sorted(o["metadata"]["name"] for o in api.all(resource))


async def test_background_goes_down_the_whole_tree():
    api, sim = world()
    top = make(api, DEPLOYMENTS, "top")
    middle = make(api, REPLICA_SETS, "middle", top)
    for number in range(5):
        make(api, PODS, f"p{number}", middle)
    keep = make(api, CONFIG_MAPS, "keep")
    await sim.settle()
    assert len(api.all(PODS)) == 5
    api.delete(DEPLOYMENTS, "top", "d", how="Background")
    await sim.settle()
    assert not api.all(REPLICA_SETS) and not api.all(PODS)
    assert api.all(CONFIG_MAPS) == [keep]


async def test_foreground_waits_for_blocking_dependents_only():
    api, sim = world()
    top = make(api, DEPLOYMENTS, "top")
    make(api, PODS, "held", top, finalizers=["x/hold"])
    make(api, CONFIG_MAPS, "loose", top, block=False, finalizers=["x/hold"])
    await sim.settle()
    api.delete(DEPLOYMENTS, "top", "d", how="Foreground")
    await sim.settle()
    assert names(api, DEPLOYMENTS) == ["top"]
    assert api.read(PODS, "held", "d")["metadata"]["deletionTimestamp"]
    held = api.read(PODS, "held", "d")
    api.update(PODS, {**held, "metadata": {**held["metadata"], "finalizers": []}})
    await sim.settle()
    assert names(api, DEPLOYMENTS) == [], "the loose one does not block"
    assert names(api, CONFIG_MAPS) == ["loose"]


async def test_orphan_strips_the_references_and_lets_live():
    api, sim = world()
    top = make(api, DEPLOYMENTS, "top")
    make(api, REPLICA_SETS, "a", top)
    make(api, REPLICA_SETS, "b", top)
    await sim.settle()
    api.delete(DEPLOYMENTS, "top", "d", how="Orphan")
    await sim.settle()
    assert names(api, DEPLOYMENTS) == [] and names(api, REPLICA_SETS) == ["a", "b"]
    assert not any(o["metadata"].get("ownerReferences") for o in api.all(REPLICA_SETS))


async def test_two_owners_the_last_one_takes_it_along():
    api, sim = world()
    one, two = make(api, SECRETS, "one"), make(api, SECRETS, "two")
    make(api, CONFIG_MAPS, "child", one, two)
    await sim.settle()
    api.delete(SECRETS, "one", "d")
    await sim.settle()
    (child,) = api.all(CONFIG_MAPS)
    assert [r["name"] for r in child["metadata"]["ownerReferences"]] == ["two"]
    api.delete(SECRETS, "two", "d")
    await sim.settle()
    assert names(api) == []


async def test_an_owner_of_the_same_name_made_again_owns_nothing():
    api, sim = world()
    make(api, CONFIG_MAPS, "child", make(api, SECRETS, "s"))
    api.delete(SECRETS, "s", "d")
    make(api, SECRETS, "s")
    await sim.settle()
    assert names(api) == [] and names(api, SECRETS) == ["s"]


async def test_an_owner_that_the_cache_has_not_seen_yet_is_asked_for():
    api, sim = world()
    owner = make(api, SECRETS, "s")
    make(api, CONFIG_MAPS, "child", owner)
    sim.deliver(CONFIG_MAPS, 1)  # the secret's news is late
    for _ in range(5):
        await sim.step(sim.loops[0])
    assert names(api) == ["child"]


async def test_a_circle_deleted_in_the_foreground_opens():
    api, sim = world()
    one = make(api, CONFIG_MAPS, "one")
    two = make(api, CONFIG_MAPS, "two", one)
    current = api.read(CONFIG_MAPS, "one", "d")
    back = {"apiVersion": "v1", "kind": "ConfigMap", "name": "two", "uid": two["metadata"]["uid"], "blockOwnerDeletion": True}
    api.update(CONFIG_MAPS, {**current, "metadata": {**current["metadata"], "ownerReferences": [back]}})
    await sim.settle()
    assert names(api) == ["one", "two"], "a circle holds itself"
    api.delete(CONFIG_MAPS, "one", "d", how="Foreground")
    await sim.settle()
    assert names(api) == []


async def test_an_owner_of_an_unknown_kind_or_in_another_namespace():
    api, sim = world()
    unknown = {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t", "uid": "u"}}
    make(api, CONFIG_MAPS, "kept", unknown)
    other = make(api, SECRETS, "s", namespace="other")
    make(api, CONFIG_MAPS, "lost", other)
    make(api, NODES, "n", other)
    await sim.settle()
    assert names(api) == ["kept"], "the owner is looked for in the dependent's own namespace"
    assert names(api, NODES) == ["n"]
    assert ("Warning", "OwnerRefInvalidNamespace") in {note[:2] for note in sim.recorder.told}


@pytest.mark.parametrize("seed", range(15))
async def test_random_forests(seed):
    """After any deletions in any order: exactly what still has a living owner, or never had one, is left."""
    rng = random.Random(seed)
    api, sim = world(seed)
    made = []
    for number in range(40):
        owners = rng.sample(made, min(len(made), rng.choice([0, 1, 1, 2])))
        resource = rng.choice([CONFIG_MAPS, SECRETS, PODS])
        made.append(make(api, resource, f"o{number}", *owners, block=rng.random() < 0.7))
    where = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS, "Pod": PODS}
    gone = set()

    def chance():
        victim = rng.choice(made)
        how = rng.choice(["Background", "Foreground"])
        key = victim["metadata"]["name"]
        if rng.random() < 0.3 and key not in gone:
            gone.add(key)
            try:
                api.delete(where[victim["kind"]], key, "d", how=how)
            except Exception:  # it went with its owner
                return

    await sim.storm(rng, 150, chance)
    await sim.settle()
    alive = {o["metadata"]["name"] for o in made} - gone
    while True:
        owned = {
            o["metadata"]["name"]: [r["name"] for r in o["metadata"].get("ownerReferences", ())]
            for o in made
            if o["metadata"]["name"] in alive
        }
        orphaned = {name for name, owners in owned.items() if owners and not set(owners) & alive}
        if not orphaned:
            break
        alive -= orphaned
    assert {o["metadata"]["name"] for kind in where.values() for o in api.all(kind)} == alive


def namespaces(resources=(PODS, CONFIG_MAPS, SECRETS, EVENTS, NODES)):
    api = Api()
    api.create(NAMESPACES, {"metadata": {"name": "d"}})
    return api, World(api, [NamespaceController(list(resources))])


async def test_a_namespace_is_emptied_pods_first_and_let_go():
    api, sim = namespaces()
    for number in range(3):
        make(api, CONFIG_MAPS, f"c{number}")
    make(api, CONFIG_MAPS, "elsewhere", namespace="other")
    make(api, EVENTS, "e")
    pod = make(api, PODS, "p")
    Kubelet(api).start(pod)
    await sim.settle()
    assert len(api.all(CONFIG_MAPS)) == 4
    api.delete(NAMESPACES, "d")
    await sim.settle()
    assert api.read(PODS, "p", "d")["metadata"]["deletionTimestamp"]
    assert len(api.all(CONFIG_MAPS, "d")) == 3, "nothing goes before the pods"
    told = {c["type"]: (c["status"], c["message"]) for c in api.read(NAMESPACES, "d")["status"]["conditions"]}
    assert told["NamespaceContentRemaining"][0] == "True" and "pods. has 1 resource instances" in told["NamespaceContentRemaining"][1]
    Kubelet(api).stop(pod)
    await sim.settle()
    assert not api.all(NAMESPACES) and names(api) == ["elsewhere"] and not api.all(EVENTS)


async def test_a_stuck_finalizer_is_named():
    api, sim = namespaces()
    make(api, CONFIG_MAPS, "c", finalizers=["x.io/hold"])
    api.delete(NAMESPACES, "d")
    await sim.settle()
    told = {c["type"]: (c["status"], c["message"]) for c in api.read(NAMESPACES, "d")["status"]["conditions"]}
    assert told["NamespaceFinalizersRemaining"] == (
        "True",
        "Some content in the namespace has finalizers remaining: x.io/hold in 1 resource instances",
    )
    held = api.read(CONFIG_MAPS, "c", "d")
    api.update(CONFIG_MAPS, {**held, "metadata": {**held["metadata"], "finalizers": []}})
    await sim.settle()
    assert not api.all(NAMESPACES)


async def test_what_the_cache_does_not_know_yet_is_not_forgotten():
    api, sim = namespaces()
    make(api, SECRETS, "late")
    api.delete(NAMESPACES, "d")
    sim.deliver(NAMESPACES, 5)
    await sim.step(sim.loops[0])
    assert api.all(NAMESPACES), "the API was asked before the namespace was let go"
    await sim.settle()
    assert not api.all(SECRETS) and not api.all(NAMESPACES)


def test_every_deletable_kind_is_collected_in_one_version():
    found = deletable(built_in())
    assert {CONFIG_MAPS, DEPLOYMENTS, PODS, NODES, EVENTS} <= set(found)
    assert len({(r.group, r.plural) for r in found}) == len(found)
    assert sum(1 for r in found if r.plural == "events") == 1
