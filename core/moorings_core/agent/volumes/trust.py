"""Trust anchors for pods: ClusterTrustBundles by name, or all of a signer that a selector chooses, put together.

Source: certificates.k8s.io/v1 ClusterTrustBundle; the kubelet's cluster trust bundle manager.
"""

from __future__ import annotations

import json
import re

from moorings_core.client.resources import CLUSTER_TRUST_BUNDLES
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

KIND = "ClusterTrustBundle"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def key(source: Object) -> str:
    """Return what tells one source of anchors from another."""
    return json.dumps([source.get("name"), source.get("signerName"), source.get("labelSelector")], sort_keys=True)


async def fetch(client: Client, wanted: str) -> Object | None:
    """Return {"anchors": PEM} for the key of a source, None where there are none. Raises NotFound for a name that is not there."""
    name, signer, selector = json.loads(wanted)
    if name:
        bundles = [await client.get(CLUSTER_TRUST_BUNDLES, name)]
    else:
        chosen = from_label_selector(selector)  # None selects nothing, an empty selector everything
        listed = (await client.list(CLUSTER_TRUST_BUNDLES)).items
        bundles = [b for b in listed if b["spec"].get("signerName") == signer and chosen.matches(b["metadata"].get("labels") or {})]
    anchors = sorted({found for bundle in bundles for found in CERTIFICATE.findall(bundle["spec"]["trustBundle"])})
    return {"anchors": "".join(f"{anchor}\n" for anchor in anchors)} if anchors else None
