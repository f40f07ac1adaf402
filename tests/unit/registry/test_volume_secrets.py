"""Secrets of CSI drivers as classes name them."""

import pytest

from moorings_core.ports.objects import Key
from moorings_core.registry import volume_secrets

CLAIM = {"metadata": {"name": "data", "namespace": "team", "uid": "u1", "annotations": {"example.com/key": "red"}}}


def parameters(name="", namespace="", kind="node-publish"):
    found = {f"csi.storage.k8s.io/{kind}-secret-name": name, f"csi.storage.k8s.io/{kind}-secret-namespace": namespace}
    return {k: v for k, v in found.items() if v}


@pytest.mark.parametrize(
    ("name", "namespace", "secret"),
    [
        ("", "", None),
        ("fixed", "storage", Key("storage", "fixed")),
        ("${pvc.name}-key", "${pvc.namespace}", Key("team", "data-key")),
        ("${pv.name}", "of-${pv.name}", Key("of-pvc-u1", "pvc-u1")),
        ("${pvc.namespace}.${pvc.annotations['example.com/key']}", "storage", Key("storage", "team.red")),
    ],
)
def test_templates_say_what_they_stand_for(name, namespace, secret):
    assert volume_secrets.of_claim("node-publish", parameters(name, namespace), CLAIM) == secret


@pytest.mark.parametrize(
    ("name", "namespace", "problem"),
    [
        ("alone", "", "only one of name and namespace"),
        ("", "alone", "only one of name and namespace"),
        ("${pvc.nothing}", "storage", r"\$\{pvc.nothing\}"),
        ("fixed", "${pvc.name}", r"\$\{pvc.name\}"),
        ("Not A Name", "storage", "no name that a secret can have"),
        ("fixed", "a.b", "no name that a secret can have"),
    ],
)
def test_what_is_wrong_is_said(name, namespace, problem):
    with pytest.raises(ValueError, match=problem):
        volume_secrets.of_claim("node-publish", parameters(name, namespace), CLAIM)


def test_a_snapshots_secret_is_named_by_its_own_words():
    words = {"volumesnapshotcontent.name": "c", "volumesnapshot.name": "s", "volumesnapshot.namespace": "team"}
    given = parameters("${volumesnapshot.name}", "${volumesnapshot.namespace}", "snapshotter")
    assert volume_secrets.reference("snapshotter", given, words) == Key("team", "s")


def test_the_secret_of_a_deletion_is_remembered_by_what_is_to_be_deleted():
    secret = Key("storage", "fixed")
    made = {"metadata": {"annotations": volume_secrets.deletion_annotations("PersistentVolume", secret)}, "spec": {}}
    assert volume_secrets.for_deletion("PersistentVolume", made) == secret
    assert volume_secrets.for_deletion("VolumeSnapshotContent", made) is None
    made["spec"]["csi"] = {"nodeStageSecretRef": {"name": "stage", "namespace": "storage"}}
    assert set(volume_secrets.named_by(made)) == {secret, Key("storage", "stage")}
