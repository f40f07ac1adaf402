"""The revisions of a Deployment: which ReplicaSet has which template, how they are named and numbered.

`kubectl rollout history` and `undo` read the annotations written here. A template seen before gets the next number: a rollback.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from moorings_core.client.resources import DEPLOYMENTS, REPLICA_SETS
from moorings_core.ports.client import Patch, Update
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from . import moments, rollout
from .framework import Intent
from .ownership import reference_to
from .rollout import Sets, Sized

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HASH = "pod-template-hash"
HISTORY_MOST = 2000  # characters
OWN = {
    REVISION,
    HISTORY,
    rollout.DESIRED,
    rollout.MAXIMUM,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
}
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and nothing like one: a hash never spells a word


def sort_out(deployment: Object, owned: Sequence[Object]) -> Sets:
    """Return the sets by whether their template is the present one; of several such the oldest is the new set."""
    ordered = sorted(owned, key=moments.created)
    new = next((obj for obj in ordered if same_template(obj, deployment)), None)
    return Sets(Sized.of(new) if new else None, [Sized.of(obj) for obj in ordered if obj is not new])


def same_template(one: Object, other: Object) -> bool:
    """Whether the templates are equal but for the hash label."""
    return _bare(one["spec"]["template"]) == _bare(other["spec"]["template"])


def number(obj: Object) -> int:
    """Return the revision of a set, 0 for none."""
    try:
        return int((obj["metadata"].get("annotations") or {}).get(REVISION, 0))
    except ValueError:
        return 0


def renumber(deployment: Object, sets: Sets) -> list[Intent]:
    """Give the new set the highest revision and the Deployment's annotations, and the Deployment its revision."""
    if sets.new is None:
        return []
    obj = sets.new.obj
    annotations = _annotations(deployment, obj, 1 + max((number(each.obj) for each in sets.old), default=0))
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if annotations != (obj["metadata"].get("annotations") or {}) or obj["spec"].get("minReadySeconds", 0) != min_ready:
        spec = {**obj["spec"], "minReadySeconds": min_ready}
        changed = {**obj, "metadata": {**obj["metadata"], "annotations": annotations}, "spec": spec}
        return [Intent(Update(REPLICA_SETS, changed), settled_by=(NotFound,))]
    metadata = deployment["metadata"]
    if (metadata.get("annotations") or {}).get(REVISION) == annotations.get(REVISION):
        return []
    patch = {"metadata": {"uid": metadata["uid"], "annotations": {REVISION: annotations[REVISION]}}}
    # A write of the status: annotations in any other would make a new generation.
    return [Intent(Patch(DEPLOYMENTS, metadata["namespace"], metadata["name"], patch, subresource="status"), settled_by=(NotFound,))]


def new_set(deployment: Object, sets: Sets) -> Object:
    """Return the ReplicaSet of the present template at the size it may begin with."""
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    digest = template_hash(template, deployment.get("status", {}).get("collisionCount", 0))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    selector = deployment["spec"]["selector"]
    revision = 1 + max((number(each.obj) for each in sets.old), default=0)
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in OWN}
    annotations |= {REVISION: str(revision)} | rollout.size_annotations(deployment)
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{metadata['name'][: 253 - 1 - len(digest)]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [reference_to(deployment)],
        },
        "spec": {
            "replicas": rollout.new_size(deployment, sets),
            "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: digest}},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }


def template_hash(template: Object, collisions: int) -> str:
    """Return ten letters that stand for a template; another ten for each collision counted."""
    text = orjson.dumps(_bare(template), option=orjson.OPT_SORT_KEYS) + str(collisions or "").encode()
    value, letters = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"), ""
    for _ in range(10):
        value, digit = divmod(value, len(ALPHABET))
        letters += ALPHABET[digit]
    return letters


def _annotations(deployment: Object, obj: Object, revision: int) -> Mapping[str, str]:
    given: dict[str, str] = deployment["metadata"].get("annotations") or {}
    result: dict[str, str] = {**(obj["metadata"].get("annotations") or {}), **{k: v for k, v in given.items() if k not in OWN}}
    before = number(obj)
    if before < revision:
        if result.get(REVISION):
            history = [*(result.get(HISTORY) or "").split(","), str(before)]
            while len(text := ",".join(filter(None, history))) > HISTORY_MOST:
                history.pop(0)
            result[HISTORY] = text
        result[REVISION] = str(revision)
    return result


def _bare(template: Object) -> Object:
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if v}
    if HASH in metadata.get("labels", {}):
        metadata["labels"] = {k: v for k, v in metadata["labels"].items() if k != HASH}
    return {"metadata": metadata, "spec": template["spec"]}
