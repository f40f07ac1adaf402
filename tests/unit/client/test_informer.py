"""An informer at the end of any history has what the API has, however it keeps it; its indexes and handlers agree."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.client.informer import Informer
from moorings_core.client.resources import NODES
from moorings_core.ports.client import ObjectList, WatchEvent
from moorings_core.ports.objects import Key


class Told:
    """An API that lists objects, then tells events, then is silent."""

    def __init__(self, objects: list[dict], events: list[WatchEvent]) -> None:
        self.objects, self.events, self.done = objects, events, asyncio.Event()

    async def list(self, resource, namespace="", **more) -> ObjectList:
        return ObjectList(self.objects, "0")

    async def watch(self, resource, namespace="", **more):
        for event in self.events:
            yield event
        self.done.set()
        await asyncio.Event().wait()


def node(name: str, version: int, zones: frozenset[str]) -> dict:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "zones": sorted(zones)}


zones = st.frozensets(st.sampled_from("xyz"), max_size=2)
states = st.dictionaries(st.sampled_from("abcd"), zones, max_size=4)


@pytest.mark.parametrize("packed", [False, True])
@given(listed=states, steps=st.lists(st.tuples(st.sampled_from("abcd"), st.none() | zones), max_size=12))
def test_items_indexes_and_handlers_follow_any_history(packed, listed, steps) -> None:
    asyncio.run(history(packed, listed, steps))


async def history(packed, listed, steps) -> None:
    truth, events = dict(listed), []
    for version, (name, now) in enumerate(steps, 1):
        if now is None and name not in truth:
            continue
        kind = "DELETED" if now is None else "MODIFIED" if name in truth else "ADDED"
        events.append(WatchEvent(kind, node(name, version, now if now is not None else truth[name])))
        if now is None:
            del truth[name]
        else:
            truth[name] = now
    api = Told([node(name, 0, value) for name, value in listed.items()], events)
    informer = Informer(api, NODES, packed=packed)
    informer.add_index("zone", lambda obj: obj["zones"])
    heard: dict[str, list[str]] = {}

    def handler(old, new) -> None:
        name = (old or new)["metadata"]["name"]
        assert (old["zones"] if old else None) == heard.get(name)
        if new:
            heard[name] = new["zones"]
        else:
            del heard[name]

    informer.on_change(handler)
    running = asyncio.create_task(informer.run())
    await asyncio.wait([running, asyncio.create_task(api.done.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    running.cancel()
    expected = {name: sorted(value) for name, value in truth.items()}
    assert heard == {key.name: obj["zones"] for key, obj in informer.items.items()} == expected
    for zone in "xyz":
        assert {obj["metadata"]["name"] for obj in informer.by_index("zone", zone)} == {n for n, z in truth.items() if zone in z}
    assert (informer.get("a") is None) == ("a" not in truth) and Key("", "e") not in informer.items
    later: list[str] = []
    informer.on_change(lambda old, new: later.append(new["metadata"]["name"]), known=False)
    assert not later
    informer.on_change(lambda old, new: later.append(new["metadata"]["name"]))
    assert sorted(later) == sorted(truth)
