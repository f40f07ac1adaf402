"""A body that is taken, of every stable kind that is stored: what mutated.py starts from."""

from __future__ import annotations

from typing import Any

from .cases import CLUSTER, LABELS, MINIMAL, SELECTOR

RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
HOOK = {
    "name": "a.example.org", "clientConfig": {"url": "https://127.0.0.1:9/x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
    "rules": [RULE],
}  # fmt: skip
PATCH = '[JSONPatch{op: "add", path: "/metadata/labels/a", value: "b"}]'
REQUESTS = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example.org"}}]}}
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}

OTHERS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("v1", "events", "Event"): {
        "involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"}, "reason": "R", "message": "m", "type": "Normal"
    },
    ("events.k8s.io/v1", "events", "Event"): {
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.org/c", "reportingInstance": "i", "action": "A",
        "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "name": "x", "namespace": "default"},
    },
    ("apps/v1", "controllerrevisions", "ControllerRevision"): {"revision": 1, "data": {"a": 1}},
    ("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"): {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    },
    ("resource.k8s.io/v1", "resourceclaims", "ResourceClaim"): {"spec": REQUESTS},
    ("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate"): {"spec": {"spec": REQUESTS}},
    ("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity"): {"storageClassName": "x", "capacity": "1Gi"},
}  # fmt: skip
OTHERS_OF_CLUSTER: dict[tuple[str, str, str], dict[str, Any]] = {
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"): {"webhooks": [HOOK]},
    ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"): {"webhooks": [HOOK]},
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"): {
        "spec": {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}]}
    },
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"): {
        "spec": {"policyName": "x", "validationActions": ["Deny"]}
    },
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy"): {
        "spec": {
            "matchConstraints": {"resourceRules": [RULE]}, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": PATCH}}],
        }
    },
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"): {"spec": {"policyName": "x"}},
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition"): {
        "spec": {
            "group": "m.example.org", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}],
        }
    },
    ("apiregistration.k8s.io/v1", "apiservices", "APIService"): {
        "spec": {
            "group": "m.example.org", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10, "insecureSkipTLSVerify": True,
            "service": {"name": "x", "namespace": "default"},
        }
    },
    ("certificates.k8s.io/v1", "clustertrustbundles", "ClusterTrustBundle"): {"spec": {"trustBundle": ""}},
    ("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema"): {
        "spec": {
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 100,
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "x"}}],
                    "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
                }
            ],
        }
    },
    ("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration"): {
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}
    },
    ("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR"): {"spec": {"cidrs": ["10.97.0.0/24"]}},
    ("networking.k8s.io/v1", "ipaddresses", "IPAddress"): {
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}}
    },
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding"): {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "x"}],
    },
    ("resource.k8s.io/v1", "deviceclasses", "DeviceClass"): {"spec": {"selectors": [{"cel": {"expression": "true"}}]}},
    ("resource.k8s.io/v1", "resourceslices", "ResourceSlice"): {
        "spec": {
            "driver": "example.org", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "nodeName": "n",
            "devices": [{"name": "d"}],
        }
    },
    ("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment"): {
        "spec": {"attacher": "example.org", "nodeName": "n", "source": {"persistentVolumeName": "x"}}
    },
    ("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass"): {"driverName": "example.org", "parameters": {"a": "b"}},
}  # fmt: skip
RICHER: dict[str, dict[str, Any]] = {
    "Service": {
        "spec": {
            "selector": LABELS, "ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP",
            "clusterIP": "10.96.7.8",
        }
    },
    "NetworkPolicy": {
        "spec": {
            "podSelector": SELECTOR, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        }
    },
    "Ingress": {
        "spec": {
            "rules": [
                {
                    "host": "a.example.org",
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]},
                }
            ]
        }
    },
    "CSINode": {"spec": {"drivers": [{"name": "example.org", "nodeID": "n"}]}},
    "ClusterRole": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
}  # fmt: skip


def bodies() -> dict[tuple[str, str, str, bool], dict[str, Any]]:
    """Return (version, plural, kind, namespaced) and the body of each kind."""
    parts = ((MINIMAL, True), (OTHERS, True), (CLUSTER, False), (OTHERS_OF_CLUSTER, False))
    return {(*key, namespaced): RICHER.get(key[2], rest) for part, namespaced in parts for key, rest in part.items()}
