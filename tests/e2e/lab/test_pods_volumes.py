"""Volumes that the agent itself makes: of ConfigMaps, Secrets, tokens and fields, empty ones, directories of the node."""

import base64
import json

import pytest

from .pods_support import config_map, container, pod, room, secret

pytestmark = pytest.mark.lab
TOKEN = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}
LABELS = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
LIMIT = {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}}
VOLUMES = [
    {"name": "map", "configMap": {"name": "settings"}},
    {"name": "items", "configMap": {"name": "settings", "defaultMode": 0o400, "items": [{"key": "a", "path": "deep/one", "mode": 0o440}]}},
    {"name": "absent", "configMap": {"name": "no-such-map", "optional": True}},
    {"name": "hidden", "secret": {"secretName": "hidden", "defaultMode": 0o400}},
    {"name": "fields", "downwardAPI": {"items": [LABELS, LIMIT]}},
    {
        "name": "all",
        "projected": {
            "sources": [
                TOKEN,
                {"configMap": {"name": "settings", "items": [{"key": "a", "path": "from-map"}]}},
                {"secret": {"name": "hidden"}},
                {"downwardAPI": {"items": [LABELS]}},
            ]
        },
    },
    {"name": "scratch", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
]
MOUNTS = [
    *({"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in VOLUMES),
    {"name": "map", "mountPath": "/single", "subPath": "a"},
    {"name": "scratch", "mountPath": "/part", "subPathExpr": "$(NAME)/inner"},
    {"name": "scratch", "mountPath": "/still", "readOnly": True},
]
NAME = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def host_path(name, path, kind):
    return pod(
        name,
        container(volumeMounts=[{"name": "it", "mountPath": "/it"}]),
        volumes=[{"name": "it", "hostPath": {"path": path, "type": kind}}],
    )


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        made.apply(config_map("settings", a="1", b="1"), secret("hidden", password="s3cret"))
        limits = {"limits": {"cpu": "250m"}}
        place = f"/run/moorings-test-{made.namespace}"
        shares = [{"name": "scratch", "mountPath": "/v/scratch"}]
        made.apply(
            pod(
                "all",
                container(volumeMounts=MOUNTS, env=NAME, resources=limits),
                container("second", volumeMounts=shares),
                volumes=VOLUMES,
                labels={"app": "web"},
            ),
            host_path("new-directory", f"{place}/made", "DirectoryOrCreate"),
            host_path("new-file", f"{place}-file", "FileOrCreate"),
            host_path("device", "/dev/null", "CharDevice"),
            host_path("wrong", "/dev/null", "Directory"),
            pod(
                "outside",
                container(volumeMounts=[{"name": "it", "mountPath": "/it", "subPath": "link/etc"}]),
                initContainers=[container("maker", "ln -s / /it/link", volumeMounts=[{"name": "it", "mountPath": "/it"}])],
                volumes=[{"name": "it", "emptyDir": {}}],
            ),
            pod("no-token", container(), automountServiceAccountToken=False),
        )
        made.ready("all")
        yield made
        for node in {made.get(n)["spec"]["nodeName"] for n in ("new-directory", "new-file")}:
            lab.node(node, "sh", "-c", f"rm -rf {place} {place}-file")


def test_files_have_the_content_names_and_modes_that_the_volume_gives(pods):
    assert pods.sh("all", "cat /v/map/a /v/items/deep/one /v/hidden/password /single").replace("\n", "") == "11s3cret1"
    assert pods.sh("all", "ls /v/items /v/absent").split() == ["/v/absent:", "/v/items:", "deep"]
    modes = pods.sh("all", "stat -L -c %a /v/map/a /v/items/deep/one /v/hidden/password").split()
    assert modes == ["644", "440", "400"]
    assert pods.sh("all", "cat /v/fields/labels /v/fields/cpu").replace("\n", "") == 'app="web"250'
    assert sorted(pods.sh("all", "ls /v/all").split()) == ["from-map", "labels", "password", "token"]


def test_secrets_and_tokens_lie_in_memory_only(pods):
    for volume in ("hidden", "all"):
        assert pods.sh("all", f"stat -f -c %T /v/{volume}") == "tmpfs"
    node = pods.get("all")["spec"]["nodeName"]
    uid = pods.get("all")["metadata"]["uid"]
    mounted = pods.lab.node(node, "sh", "-c", f"grep {uid} /proc/mounts")
    assert {line.split()[2] for line in mounted.splitlines() if "kubernetes.io~secret" in line} == {"tmpfs"}


def test_a_changed_config_map_is_seen_whole_or_not_at_all(pods):
    look = 'cd -P /v/map/..data && word=$(cat a b) && echo "$word" | tr -d "\\n" && echo'  # a set that is being removed cannot be read
    pods.sh("all", f"(while [ ! -e /tmp/stop ]; do {look}; done | sort -u) > /tmp/seen 2> /dev/null & true")
    pods.apply(config_map("settings", a="2", b="2"))
    pods.lab.wait_for("the new content", lambda: pods.sh("all", "cat /v/map/a") == "2")
    pods.sh("all", "touch /tmp/stop")
    seen = pods.lab.wait_for("the watcher's end", lambda: set(pods.sh("all", "cat /tmp/seen").split()))
    assert seen <= {"11", "22"}
    assert "11" in seen
    assert pods.sh("all", "cat /single") == "1"  # a subPath stays what it was at the start
    pods.lab.wait_for(
        "items and projections too", lambda: pods.sh("all", "cat /v/items/deep/one /v/all/from-map").replace("\n", "") == "22"
    )


def test_changed_labels_reach_the_downward_api_volume(pods):
    pods.kubectl("label", "pod", "all", "colour=blue")
    pods.lab.wait_for("the label", lambda: 'colour="blue"' in pods.sh("all", "cat /v/fields/labels"))


def test_the_token_is_bound_to_the_pod_and_the_api_accepts_it(pods):
    token = pods.sh("all", "cat /v/all/token")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    bound = claims["kubernetes.io"]
    assert claims["aud"] == ["vault"]
    assert bound["namespace"] == pods.namespace
    assert bound["pod"] == {"name": "all", "uid": pods.get("all")["metadata"]["uid"]}
    assert bound["serviceaccount"]["name"] == "default"
    automatic = pods.sh("all", "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": automatic}}
    answer = json.loads(pods.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))["status"]
    assert answer["authenticated"] is True
    assert answer["user"]["username"] == f"system:serviceaccount:{pods.namespace}:default"


def test_every_pod_gets_token_authority_and_namespace_unless_it_declines(pods):
    directory = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert pods.sh("all", f"ls {directory}").split() == ["ca.crt", "namespace", "token"]
    assert pods.sh("all", f"cat {directory}/namespace") == pods.namespace
    pods.ready("no-token")
    assert pods.sh("no-token", f"ls {directory}", check=False).count("No such file") == 1


def test_an_empty_directory_is_shared_and_a_part_of_it_can_be_mounted(pods):
    pods.sh("all", "echo both > /v/scratch/word; echo deep > /part/file")
    assert pods.sh("all", "cat /v/scratch/word /v/scratch/all/inner/file", "second").split() == ["both", "deep"]
    assert "Read-only" in pods.sh("all", "touch /still/x", check=False)


def test_an_empty_directory_in_memory_has_its_size(pods):
    assert pods.sh("all", "stat -f -c %T /v/memory") == "tmpfs"
    words = pods.sh("all", "dd if=/dev/zero of=/v/memory/fill bs=64k count=32; stat -c %s /v/memory/fill; rm /v/memory/fill", check=False)
    assert "No space left" in words
    assert str(1 << 20) in words.split()


def test_host_paths_are_of_their_type(pods):
    pods.ready("new-directory", "new-file", "device")
    assert pods.sh("new-directory", "[ -d /it ] && touch /it/x && echo yes") == "yes"
    assert pods.sh("new-file", "[ -f /it ] && echo yes") == "yes"
    assert pods.sh("device", "[ -c /it ] && echo yes") == "yes"
    text = pods.lab.wait_for("a refusal", lambda: pods.events("wrong", "FailedMount"))
    assert any("is not a directory" in t for t in text)
    assert pods.get("wrong")["status"]["phase"] == "Pending"


def test_a_sub_path_cannot_lead_out_of_its_volume(pods):
    status = pods.waiting("outside", "CreateContainerConfigError")
    assert "leads out of its volume" in status["state"]["waiting"]["message"]
