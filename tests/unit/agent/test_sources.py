"""When ConfigMaps, Secrets and tokens are fetched, and for whom."""

import datetime

import pytest

from moorings_core.agent.volumes.sources import Sources
from moorings_core.ports.errors import NotFound

from .builders import container, pod


class Api:
    """Holds objects by name and notes what was asked."""

    def __init__(self):
        self.objects, self.asked = {"m": {"data": {"a": "1"}}}, []

    async def get(self, resource, name, namespace):
        self.asked.append(name)
        if name not in self.objects:
            raise NotFound(name)
        return self.objects[name]

    async def create(self, resource, body, *, subresource, name):
        self.asked.append(f"token of {name}")
        assert body["spec"]["boundObjectRef"] == {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.seconds)
        return {"status": {"token": f"t{len(self.asked)}", "expirationTimestamp": end.isoformat()}}

    seconds = 600


@pytest.fixture
def api():
    return Api()


def mounting(name="m", optional=False):
    return pod(volumes=[{"name": "v", "configMap": {"name": name, "optional": optional}}])


async def test_a_starting_pod_gets_what_is_there_now(api):
    sources = Sources(api)
    assert (await sources.fetch(mounting())).raw("ConfigMap", "m") == {"a": b"1"}
    api.objects["m"] = {"data": {"a": "2"}}
    assert (await sources.fetch(mounting())).raw("ConfigMap", "m") == {"a": b"2"}


async def test_refreshing_pods_share_what_was_fetched_a_moment_ago(api):
    sources = Sources(api)
    for _ in range(5):
        found = await sources.fetch(mounting(), age=60)
    assert api.asked == ["m"]
    assert found.raw("ConfigMap", "m") == {"a": b"1"}


async def test_what_is_not_there_is_none_and_is_found_as_soon_as_it_is(api):
    sources = Sources(api)
    assert (await sources.fetch(mounting("late"))).raw("ConfigMap", "late") is None
    api.objects["late"] = {"data": {}}
    assert (await sources.fetch(mounting("late"))).raw("ConfigMap", "late") == {}


async def test_everything_that_containers_and_volumes_name_is_fetched_once(api):
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    main = container(env=env, envFrom=[{"configMapRef": {"name": "m"}}])
    volumes = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "t"}}]}}]
    await Sources(api).fetch(pod(main, initContainers=[container("i", envFrom=[{"secretRef": {"name": "u"}}])], volumes=volumes))
    assert sorted(api.asked) == ["m", "s", "t", "u"]


async def test_a_token_is_kept_until_most_of_its_life_is_over(api):
    volumes = [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]
    spec, sources = pod(volumes=volumes, serviceAccountName="sa"), Sources(api)
    first = (await sources.fetch(spec)).token({})
    assert (await sources.fetch(spec)).token({}) == first
    assert api.asked == ["token of sa"]
    sources.forget("u")
    api.seconds = 0
    for _ in range(2):
        await sources.fetch(spec)
    assert api.asked == ["token of sa"] * 3
