"""What drivers are told when a volume is published: secrets, tokens of the pod's account, and that again and again."""

import base64
import json

import pytest

from moorings_core.agent.csi.plugins import Driver
from moorings_core.agent.csi.volumes import CsiVolumes
from moorings_core.agent.volumes.manager import VolumeError, VolumeManager

BOTH = ["Ephemeral", "Persistent"]
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
POD = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"serviceAccountName": "robot"}}
SOURCE = {"driver": "d.example.com", "volumeAttributes": {"share": "a"}, "nodePublishSecretRef": {"name": "key"}}


class Api:
    tokens = 0

    async def get(self, resource, name, namespace=""):
        return {"data": {"word": base64.b64encode(f"{resource.plural} {namespace}/{name}".encode()).decode()}}

    async def create(self, resource, body, *, subresource, name):
        assert (subresource, name) == ("token", "robot")
        self.tokens += 1
        audiences = ",".join(body["spec"].get("audiences", ()))
        status = {"token": f"{audiences} {body['spec']['expirationSeconds']}", "expirationTimestamp": "2999-01-01T00:00:00Z"}
        return {"status": status}


class Plugged:
    """A driver that notes its calls, and the places where it is looked up."""

    def __init__(self, **declared):
        self.calls, self.declared = [], {"attachRequired": False, "volumeLifecycleModes": BOTH, **declared}
        self.drivers = {"d.example.com": Driver("d.example.com", self, "n", {}, 0, on_node=frozenset({"STAGE_UNSTAGE_VOLUME"}))}
        self.csi_drivers = self
        self.items = [type("Named", (), {"name": "d.example.com"})]

    async def wait_for(self, name, timeout):
        return self.drivers[name]

    def spec(self, name):
        return self.declared if name == "d.example.com" else {}

    async def call(self, rpc, **fields):
        self.calls.append((rpc, {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}))


def volumes(plugged, root, api=None):
    return CsiVolumes(api or Api(), plugged, plugged, root, "n")


def persistent(**more):
    source = {"driver": "d.example.com", "volumeHandle": "h", **more}
    return {"metadata": {"name": "pv"}, "spec": {"accessModes": ["ReadWriteOnce"], "csi": source}}


def using(*listed, field="volumeMounts"):
    """A pod with volumes, all of which its container uses."""
    main = {"name": "main", field: [{"name": volume["name"]} for volume in listed]}
    return {**POD, "spec": {**POD["spec"], "containers": [main], "volumes": list(listed)}}


async def test_each_call_gets_the_secret_that_is_for_it(tmp_path):
    plugged = Plugged()
    references = {f"{call}SecretRef": {"name": call.lower(), "namespace": "s"} for call in ("nodeStage", "nodePublish")}
    await volumes(plugged, tmp_path).setup(POD, persistent(**references), read_only=False)
    told = {rpc: fields["secrets"] for rpc, fields in plugged.calls}
    assert told == {"NodeStageVolume": {"word": "secrets s/nodestage"}, "NodePublishVolume": {"word": "secrets s/nodepublish"}}


@pytest.mark.parametrize("in_secrets", [False, True])
async def test_a_driver_gets_the_tokens_that_it_has_asked_for_where_it_wants_them(tmp_path, in_secrets):
    wanted = [{"audience": "cloud", "expirationSeconds": 700}, {"audience": ""}]
    plugged = Plugged(tokenRequests=wanted, serviceAccountTokenInSecrets=in_secrets)
    mounted = volumes(plugged, tmp_path)
    await mounted.setup(POD, persistent(), read_only=False)
    await mounted.setup_inline(POD, "inline", SOURCE)
    published = [fields for rpc, fields in plugged.calls if rpc == "NodePublishVolume"]
    for fields in published:
        confided, context = fields["secrets"], fields["volume_context"]
        given = json.loads((confided if in_secrets else context)[TOKENS])
        assert given == {
            "cloud": {"token": "cloud 700", "expirationTimestamp": "2999-01-01T00:00:00Z"},
            "": {"token": " 3600", "expirationTimestamp": "2999-01-01T00:00:00Z"},
        }
        assert TOKENS not in (context if in_secrets else confided)
    assert published[1]["secrets"]["word"] == "secrets d/key", "an inline volume's secret is of the pod's namespace"
    (staged,) = (fields for rpc, fields in plugged.calls if rpc == "NodeStageVolume")
    assert TOKENS not in staged["volume_context"], "what is staged is of no one pod"


async def test_volumes_are_published_again_for_drivers_that_want_that_and_not_staged(tmp_path):
    pod = using({"name": "inline", "csi": SOURCE})
    plugged, quiet = Plugged(requiresRepublish=True), Plugged()
    manager = VolumeManager(tmp_path, volumes(plugged, tmp_path))
    assert manager.is_republished(pod)
    assert not manager.is_republished(using({"name": "e", "emptyDir": {}}))
    assert not VolumeManager(tmp_path, volumes(quiet, tmp_path)).is_republished(pod)
    await manager.setup(pod, None, {})
    await manager.refresh(pod, None, {})
    assert [rpc for rpc, _ in plugged.calls] == ["NodePublishVolume"] * 2
    await volumes(plugged, tmp_path).setup(POD, persistent(), read_only=False, again=True)
    assert [rpc for rpc, _ in plugged.calls][2:] == ["NodePublishVolume"]


async def test_tokens_are_kept_while_they_live_and_go_with_the_pod(tmp_path):
    api, plugged = Api(), Plugged(tokenRequests=[{"audience": "cloud"}])
    mounted = volumes(plugged, tmp_path, api)
    published = await mounted.setup(POD, persistent(), read_only=False)
    await mounted.setup(POD, persistent(), read_only=False, again=True)
    assert api.tokens == 1
    await mounted.teardown(published)
    await mounted.setup(POD, persistent(), read_only=False)
    assert api.tokens == 2


async def test_volumes_that_no_container_uses_are_not_made(tmp_path):
    plugged = Plugged()
    pod = using({"name": "scratch", "emptyDir": {}})
    pod["spec"]["volumes"] += [{"name": "inline", "csi": SOURCE}, {"name": "other", "emptyDir": {}}]
    paths = await VolumeManager(tmp_path, volumes(plugged, tmp_path)).setup(pod, None, {})
    assert list(paths) == ["scratch"]
    assert not plugged.calls
    pod["spec"]["ephemeralContainers"] = [{"name": "late", "volumeMounts": [{"name": "other"}]}]
    assert set(await VolumeManager(tmp_path, volumes(plugged, tmp_path)).setup(pod, None, {})) == {"scratch", "other"}


@pytest.mark.parametrize(("mode", "field"), [("Block", "volumeMounts"), ("Filesystem", "volumeDevices")])
async def test_a_device_is_not_mounted_and_a_file_system_is_no_device(tmp_path, mode, field, monkeypatch):
    mounted, pod = volumes(Plugged(), tmp_path), using({"name": "data", "persistentVolumeClaim": {"claimName": "c"}}, field=field)
    made = persistent()
    made["spec"]["volumeMode"] = mode

    async def claimed(*_):
        return made

    monkeypatch.setattr(mounted, "claimed", claimed)
    with pytest.raises(VolumeError, match=f"volume data has volumeMode {mode}, but is specified in {field}"):
        await VolumeManager(tmp_path, mounted).setup(pod, None, {})
