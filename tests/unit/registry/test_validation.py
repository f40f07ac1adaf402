"""What is refused, with upstream's reasons, field paths and words."""

from __future__ import annotations

import pytest

from moorings_core.registry import strategy
from moorings_core.registry.validation import to_invalid, validate_create, validate_update

from . import objects
from .objects import CONTAINER, KINDS, changed, resource

C0 = "spec.containers.0"
P0 = "spec.containers[0]"
T = "spec.template"
HARD = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
SOFT = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
SPREAD = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
SPREADS, ROLLING = "spec.topologySpreadConstraints", "spec.strategy.rollingUpdate"
REQUIRED, INVALID, UNSUPPORTED = "FieldValueRequired", "FieldValueInvalid", "FieldValueNotSupported"
FORBIDDEN, DUPLICATE, MISSING, LONG = "FieldValueForbidden", "FieldValueDuplicate", "FieldValueNotFound", "FieldValueTooLong"


HEADLESS = {"spec.clusterIP": "None", "spec.clusterIPs": ["None"]}
ADDRESS = {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}


def defaulted(group, plural, obj):
    """A copy as validation sees it: a Job's selector is made from its uid."""
    made = objects.defaulted(group, plural, obj)
    if plural == "jobs":
        made["metadata"].setdefault("uid", "u")
        strategy.prepare_create(resource(group, plural), made)
    return made


def term(**expression):
    return {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}


CREATE = [
    ("pod", {"metadata.name": ""}, REQUIRED, "metadata.name", "name or generateName is required"),
    ("pod", {"metadata.name": "Big"}, INVALID, "metadata.name", '"Big": a lowercase RFC 1123 subdomain'),
    ("pod", {"metadata.labels": {"a b": "c"}}, INVALID, "metadata.labels", "name part must consist of alphanumeric"),
    ("pod", {"metadata.labels": {"a": "not valid"}}, INVALID, "metadata.labels", "a valid label must be an empty string"),
    ("pod", {"metadata.annotations": {"a b": "c"}}, INVALID, "metadata.annotations", "name part"),
    ("pod", {"metadata.annotations": {"a": "x" * 262145}}, LONG, "metadata.annotations", "262144"),
    ("pod", {"metadata.ownerReferences": [{"kind": "A", "name": "b"}]}, REQUIRED, "metadata.ownerReferences[0].apiVersion", "not be empty"),
    ("pod", {"metadata.finalizers": ["no good"]}, INVALID, "metadata.finalizers", "name part"),
    ("pod", {"metadata.finalizers": ["simple"]}, INVALID, "metadata.finalizers[0]", "neither a standard finalizer name nor"),
    ("statefulset", {"metadata.name": "a.b"}, INVALID, "metadata.name", "must not contain dots"),
    (
        "pod",
        {"spec.initContainers": [{"name": "i", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
        FORBIDDEN,
        "spec.initContainers[0].readinessProbe",
        "without restartPolicy=Always",
    ),
    ("pod", {"spec.volumes": [{"name": "v", "hostPath": {"path": ""}}]}, REQUIRED, "spec.volumes[0].hostPath.path", ""),
    (
        "pod",
        {"spec.volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
        INVALID,
        "spec.volumes[0].hostPath.path",
        "must not contain",
    ),
    (
        "pod",
        {"spec.volumes": [{"name": "v", "hostPath": {"path": "/a", "type": "Door"}}]},
        UNSUPPORTED,
        "spec.volumes[0].hostPath.type",
        "DirectoryOrCreate",
    ),
    (
        "pod",
        {f"{C0}.env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]},
        INVALID,
        f"{P0}.env[0].valueFrom.fieldRef.fieldPath",
        "error converting fieldPath: field label not supported: spec.nothing",
    ),
    (
        "pod",
        {f"{C0}.env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
        UNSUPPORTED,
        f"{P0}.env[0].valueFrom.fieldRef.fieldPath",
        "status.podIP",
    ),
    (
        "pod",
        {"spec.volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "status.podIP"}}]}}]},
        UNSUPPORTED,
        "spec.volumes[0].downwardAPI.fieldRef.fieldPath",
        "metadata.labels",
    ),
    ("service", {"spec.selector": {"a b": "c"}}, INVALID, "spec.selector", "name part must consist of"),
    ("service", {"spec.ports.0.nodePort": 30080}, FORBIDDEN, "spec.ports[0].nodePort", "may not be used when `type` is 'ClusterIP'"),
    ("volume", {"spec.hostPath.path": ""}, REQUIRED, "spec.hostPath.path", ""),
    ("deployment", {"spec.selector": None}, INVALID, f"{T}.metadata.labels", "`selector` does not match template `labels`"),
    ("job", {"spec.selector": {"matchLabels": {"a": "b"}}}, INVALID, "spec.selector", "`selector` not auto-generated"),
    ("job", {f"{T}.metadata": {"labels": {"job-name": "k"}}}, INVALID, f"{T}.metadata.labels[job-name]", "must be 'j'"),
    ("job", {"spec.manualSelector": True, "spec.selector": {"matchLabels": {"a": "b"}}}, INVALID, f"{T}.metadata.labels", "does not match"),
    (
        "pod",
        {"spec.ephemeralContainers": [{"name": "e", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]},
        FORBIDDEN,
        "spec.ephemeralContainers[0].ports",
        "cannot be set for an Ephemeral Container",
    ),
    ("daemonset", {"spec.updateStrategy": {"type": "Never"}}, UNSUPPORTED, "spec.updateStrategy", '"RollingUpdate", "OnDelete"'),
    (
        "daemonset",
        {"spec.updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
        REQUIRED,
        "spec.updateStrategy.rollingUpdate.maxUnavailable",
        "cannot be 0 when maxSurge is 0",
    ),
    ("cronjob", {"spec.schedule": "often"}, INVALID, "spec.schedule", "expected exactly 5 fields, found 1: [often]"),
    ("cronjob", {"spec.timeZone": "Nowhere/Else"}, INVALID, "spec.timeZone", "unknown time zone Nowhere/Else"),
    ("binding", {"subjects": [{"kind": "Robot", "name": "r"}]}, UNSUPPORTED, "subjects[0].kind", '"ServiceAccount", "User", "Group"'),
    ("binding", {"subjects": [{"kind": "User"}]}, REQUIRED, "subjects[0].name", ""),
    ("autoscaler", {"spec.minReplicas": 5}, INVALID, "spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
    ("autoscaler", {"spec.minReplicas": -1}, INVALID, "spec.minReplicas", "must be greater than or equal to 0"),
    ("autoscaler", {"spec.minReplicas": 0}, FORBIDDEN, "spec.metrics", "must specify at least one Object or External metric"),
    ("autoscaler", {"spec.scaleTargetRef": {"kind": "Deployment"}}, REQUIRED, "spec.scaleTargetRef.name", ""),
    ("budget", {"spec.maxUnavailable": 1}, INVALID, "spec", "cannot be both set"),
    ("budget", {"spec.minAvailable": "half"}, INVALID, "spec.minAvailable", "a valid percent string"),
    ("lease", {"spec.leaseDurationSeconds": 0}, INVALID, "spec.leaseDurationSeconds", "must be greater than 0"),
    ("lease", {"spec.leaseTransitions": -1}, INVALID, "spec.leaseTransitions", "greater than or equal to 0"),
    ("ingress", {"spec": {}}, INVALID, "spec", "either `defaultBackend` or `rules` must be specified"),
    ("ingress", {"spec.rules": [{"host": "a_b"}]}, INVALID, "spec.rules[0].host", "a lowercase RFC 1123 subdomain"),
    ("ingress", {"spec.rules": [{"host": "10.0.0.1"}]}, INVALID, "spec.rules[0].host", "must be a DNS name, not an IP address"),
    ("ingress", {"spec.rules": [{"http": {"paths": []}}]}, REQUIRED, "spec.rules[0].http.paths", ""),
    (
        "ingress",
        {"spec.rules": [{"http": {"paths": [{"path": "/"}]}}]},
        REQUIRED,
        "spec.rules[0].http.paths[0].pathType",
        "must be specified",
    ),
    (
        "ingress",
        {"spec.rules": [{"http": {"paths": [{"path": "a", "pathType": "Exact", "backend": BACKEND}]}}]},
        INVALID,
        "spec.rules[0].http.paths[0].path",
        "must be an absolute path",
    ),
    ("ingress", {"spec.defaultBackend": {"service": {"name": "s"}}}, REQUIRED, "spec.defaultBackend", "port name or number is required"),
    ("policy", {"spec.policyTypes": ["Sideways"]}, UNSUPPORTED, "spec.policyTypes[0]", '"Ingress", "Egress"'),
    (
        "policy",
        {"spec.egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/80"}}]}]},
        INVALID,
        "spec.egress[0].to[0].ipBlock.cidr",
        "must be a valid CIDR value",
    ),
    (
        "policy",
        {"spec.ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.1.0.0/24"]}}]}]},
        INVALID,
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "must be a strict subset",
    ),
    ("policy", {"spec.ingress": [{"from": [{}]}]}, REQUIRED, "spec.ingress[0].from[0]", "must specify a peer"),
    ("policy", {"spec.ingress": [{"ports": [{"port": 0}]}]}, INVALID, "spec.ingress[0].ports[0].port", "must be between 1 and 65535"),
    ("policy", {"spec.egress": [{"ports": [{"endPort": 9}]}]}, INVALID, "spec.egress[0].ports[0].endPort", "`port` is not specified"),
    (
        "policy",
        {"spec.egress": [{"ports": [{"port": "http", "endPort": 9}]}]},
        INVALID,
        "spec.egress[0].ports[0].endPort",
        "may not be specified when `port` is non-numeric",
    ),
    (
        "policy",
        {"spec.egress": [{"ports": [{"port": 90, "endPort": 80}]}]},
        INVALID,
        "spec.egress[0].ports[0].endPort",
        "must be greater than or equal to `port`",
    ),
    ("policy", {"spec.egress": [{"ports": [{"port": "-x"}]}]}, INVALID, "spec.egress[0].ports[0].port", ""),
    ("pod", {"spec.activeDeadlineSeconds": 0}, INVALID, "spec.activeDeadlineSeconds", "must be between 1 and 2147483647, inclusive"),
    ("pod", {"spec.dnsPolicy": "None"}, REQUIRED, "spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
    ("pod", {"spec.securityContext": {"runAsUser": -1}}, INVALID, "spec.securityContext.runAsUser", "must be between 0 and 2147483647"),
    ("pod", {f"{C0}.securityContext": {"runAsGroup": -1}}, INVALID, f"{P0}.securityContext.runAsGroup", "must be between 0 and"),
    ("pod", {"spec.volumes": [{"name": "v", "configMap": {}}]}, REQUIRED, "spec.volumes[0].configMap.name", ""),
    ("pod", {"spec.volumes": [{"name": "v", "secret": {}}]}, REQUIRED, "spec.volumes[0].secret.secretName", ""),
    (
        "pod",
        {"spec.volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 4096}}]},
        INVALID,
        "spec.volumes[0].configMap.defaultMode",
        "between 0 and 0777 (octal)",
    ),
    (
        "pod",
        {f"{C0}.ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]},
        DUPLICATE,
        f"{P0}.ports[1].hostPort",
        '"TCP//80"',
    ),
    ("pod", {f"{C0}.readinessProbe": {"httpGet": {"port": 0}}}, INVALID, f"{P0}.readinessProbe.httpGet.port", "between 1 and 65535"),
    ("service", {"spec.ports.0.targetPort": "A_b"}, INVALID, "spec.ports[0].targetPort", "alpha-numeric"),
    ("service", {"spec.externalIPs": ["127.0.0.1"]}, INVALID, "spec.externalIPs[0]", "may not be in the loopback range"),
    (
        "service",
        {"spec.sessionAffinity": "ClientIP", "spec.sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
        INVALID,
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "must be greater than 0",
    ),
    ("pod", {"spec.containers": []}, REQUIRED, "spec.containers", ""),
    ("pod", {f"{C0}.name": ""}, REQUIRED, f"{P0}.name", ""),
    ("pod", {f"{C0}.name": "a_b"}, INVALID, f"{P0}.name", "a lowercase RFC 1123 label"),
    ("pod", {"spec.containers.1": CONTAINER}, DUPLICATE, "spec.containers[1].name", '"c"'),
    ("pod", {"spec.initContainers": [CONTAINER]}, DUPLICATE, "spec.initContainers[0].name", '"c"'),
    ("pod", {f"{C0}.image": ""}, REQUIRED, f"{P0}.image", ""),
    ("pod", {f"{C0}.image": " i"}, INVALID, f"{P0}.image", "leading or trailing whitespace"),
    ("pod", {f"{C0}.imagePullPolicy": "Maybe"}, UNSUPPORTED, f"{P0}.imagePullPolicy", '"Always", "IfNotPresent", "Never"'),
    ("pod", {f"{C0}.ports": [{"containerPort": 0}]}, REQUIRED, f"{P0}.ports[0].containerPort", ""),
    ("pod", {f"{C0}.ports": [{"containerPort": 70000}]}, INVALID, f"{P0}.ports[0].containerPort", "must be between 1 and 65535, inclusive"),
    ("pod", {f"{C0}.ports": [{"containerPort": 1, "hostPort": -1}]}, INVALID, f"{P0}.ports[0].hostPort", "between 1 and 65535"),
    ("pod", {f"{C0}.ports": [{"containerPort": 1, "protocol": "X"}]}, UNSUPPORTED, f"{P0}.ports[0].protocol", '"SCTP", "TCP", "UDP"'),
    ("pod", {f"{C0}.ports": [{"containerPort": 1, "name": "much-too-long-name"}]}, INVALID, f"{P0}.ports[0].name", "15 characters"),
    ("pod", {f"{C0}.env": [{"value": "x"}]}, REQUIRED, f"{P0}.env[0].name", ""),
    ("pod", {f"{C0}.env": [{"name": "a=b"}]}, INVALID, f"{P0}.env[0].name", "environment variable name"),
    ("pod", {f"{C0}.env": [{"name": "A", "valueFrom": {}}]}, INVALID, f"{P0}.env[0].valueFrom", "must specify one of"),
    (
        "pod",
        {f"{C0}.env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        INVALID,
        f"{P0}.env[0].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    ("pod", {f"{C0}.volumeMounts": [{"name": "v", "mountPath": "/x"}]}, MISSING, f"{P0}.volumeMounts[0].name", '"v"'),
    ("pod", {f"{C0}.resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}, INVALID, f"{P0}.resources.requests", "cpu limit of 1"),
    ("pod", {f"{C0}.resources": {"limits": {"cpu": "-1"}}}, INVALID, f"{P0}.resources.limits[cpu]", "greater than or equal to 0"),
    ("pod", {f"{C0}.resources": {"limits": {"cpu": "much"}}}, INVALID, f"{P0}.resources.limits[cpu]", "quantities must match"),
    ("pod", {f"{C0}.livenessProbe": {}}, REQUIRED, f"{P0}.livenessProbe", "must specify a handler type"),
    (
        "pod",
        {f"{C0}.livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}},
        FORBIDDEN,
        f"{P0}.livenessProbe.tcpSocket",
        "may not specify more than 1 handler type",
    ),
    (
        "pod",
        {f"{C0}.livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}},
        INVALID,
        f"{P0}.livenessProbe.successThreshold",
        "must be 1",
    ),
    ("pod", {"spec.restartPolicy": "Sometimes"}, UNSUPPORTED, "spec.restartPolicy", '"Always", "OnFailure", "Never"'),
    ("pod", {"spec.dnsPolicy": "Mine"}, UNSUPPORTED, "spec.dnsPolicy", '"ClusterFirst"'),
    ("pod", {"spec.volumes": [{"name": "v"}, {"name": "v"}]}, DUPLICATE, "spec.volumes[1].name", '"v"'),
    ("pod", {"spec.volumes": [{"emptyDir": {}}]}, REQUIRED, "spec.volumes[0].name", ""),
    ("pod", {"spec.volumes": [{"name": "v", "emptyDir": {}, "nfs": {}}]}, FORBIDDEN, "spec.volumes[0].nfs", "more than 1 volume type"),
    ("pod", {"spec.hostname": "a.b"}, INVALID, "spec.hostname", "must not contain dots"),
    ("pod", {"spec.nodeSelector": {"a": "b c"}}, INVALID, "spec.nodeSelector", "a valid label"),
    ("pod", {"spec.tolerations": [{"operator": "Equal"}]}, INVALID, "spec.tolerations[0].operator", "operator must be Exists when `key`"),
    ("pod", {"spec.tolerations": [{"key": "a", "operator": "Has"}]}, UNSUPPORTED, "spec.tolerations[0].operator", '"Equal", "Exists"'),
    ("pod", {"spec.tolerations": [{"key": "a", "effect": "No"}]}, UNSUPPORTED, "spec.tolerations[0].effect", "NoExecute"),
    ("pod", {"spec.tolerations": [{"key": "a", "tolerationSeconds": 1}]}, INVALID, "spec.tolerations[0].effect", "tolerationSeconds"),
    ("pod", {HARD: {}}, REQUIRED, f"{HARD}.nodeSelectorTerms", "at least one node selector term"),
    (
        "pod",
        {HARD: term(key="a", operator="In")},
        REQUIRED,
        f"{HARD}.nodeSelectorTerms[0].matchExpressions[0].values",
        "'In' or 'NotIn'",
    ),
    (
        "pod",
        {HARD: term(key="a", operator="Exists", values=["b"])},
        FORBIDDEN,
        f"{HARD}.nodeSelectorTerms[0].matchExpressions[0].values",
        "'Exists' or 'DoesNotExist'",
    ),
    (
        "pod",
        {HARD: term(key="a", operator="Gt", values=["1", "2"])},
        REQUIRED,
        f"{HARD}.nodeSelectorTerms[0].matchExpressions[0].values",
        "single value",
    ),
    (
        "pod",
        {HARD: term(key="a", operator="Like")},
        INVALID,
        f"{HARD}.nodeSelectorTerms[0].matchExpressions[0].operator",
        "not a valid selector operator",
    ),
    ("pod", {SOFT: [{"weight": 0, "preference": {}}]}, INVALID, f"{SOFT}[0].weight", "must be in the range 1-100"),
    ("pod", {SPREADS: [SPREAD | {"maxSkew": 0}]}, INVALID, f"{SPREADS}[0].maxSkew", "zero"),
    ("pod", {SPREADS: [SPREAD | {"topologyKey": ""}]}, REQUIRED, f"{SPREADS}[0].topologyKey", ""),
    (
        "pod",
        {SPREADS: [SPREAD | {"whenUnsatisfiable": "Hmm"}]},
        UNSUPPORTED,
        f"{SPREADS}[0].whenUnsatisfiable",
        '"DoNotSchedule", "ScheduleAnyway"',
    ),
    (
        "pod",
        {SPREADS: [SPREAD, SPREAD]},
        DUPLICATE,
        SPREADS + "[0].{topologyKey, whenUnsatisfiable}",
        "{zone, DoNotSchedule}",
    ),
    ("deployment", {"spec.replicas": -1}, INVALID, "spec.replicas", "must be greater than or equal to 0"),
    ("deployment", {"spec.selector": ...}, REQUIRED, "spec.selector", ""),
    ("deployment", {"spec.selector": {}}, INVALID, "spec.selector", "empty selector is invalid for deployment"),
    ("daemonset", {"spec.selector": {}}, INVALID, "spec.selector", "empty selector is invalid for daemonset"),
    ("statefulset", {"spec.selector": {}}, INVALID, "spec.selector", "empty selector is invalid for statefulset"),
    (
        "deployment",
        {"spec.selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
        INVALID,
        "spec.selector.matchExpressions[0].operator",
        "not a valid selector operator",
    ),
    ("deployment", {f"{T}.metadata.labels": {"app": "y"}}, INVALID, f"{T}.metadata.labels", "`selector` does not match template `labels`"),
    ("deployment", {f"{T}.spec.restartPolicy": "Never"}, UNSUPPORTED, f"{T}.spec.restartPolicy", 'supported values: "Always"'),
    ("deployment", {f"{T}.spec.containers.0.image": ""}, REQUIRED, f"{T}.spec.containers[0].image", ""),
    ("deployment", {"spec.strategy": {"type": "Slow"}}, UNSUPPORTED, "spec.strategy", "RollingUpdate"),
    (
        "deployment",
        {"spec.strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
        FORBIDDEN,
        "spec.strategy.rollingUpdate",
        "when strategy `type` is 'Recreate'",
    ),
    (
        "deployment",
        {ROLLING: {"maxSurge": 0, "maxUnavailable": 0}},
        INVALID,
        f"{ROLLING}.maxUnavailable",
        "may not be 0 when `maxSurge` is 0",
    ),
    ("deployment", {ROLLING: {"maxSurge": "x"}}, INVALID, f"{ROLLING}.maxSurge", "percent"),
    ("deployment", {ROLLING: {"maxUnavailable": "101%"}}, INVALID, f"{ROLLING}.maxUnavailable", "100%"),
    ("deployment", {"spec.progressDeadlineSeconds": 0}, INVALID, "spec.progressDeadlineSeconds", "greater than minReadySeconds"),
    ("job", {f"{T}.spec.restartPolicy": "Always"}, REQUIRED, f"{T}.spec.restartPolicy", 'valid values: "OnFailure", "Never"'),
    ("job", {f"{T}.spec.restartPolicy": "Maybe"}, UNSUPPORTED, f"{T}.spec.restartPolicy", '"OnFailure", "Never"'),
    ("job", {"spec.parallelism": -1}, INVALID, "spec.parallelism", "greater than or equal to 0"),
    ("job", {"spec.completionMode": "Indexed", "spec.parallelism": 1}, REQUIRED, "spec.completions", "when completion mode is Indexed"),
    ("job", {"spec.completionMode": "Odd"}, UNSUPPORTED, "spec.completionMode", '"NonIndexed", "Indexed"'),
    ("cronjob", {"spec.schedule": ""}, REQUIRED, "spec.schedule", ""),
    ("cronjob", {"spec.concurrencyPolicy": "Many"}, UNSUPPORTED, "spec.concurrencyPolicy", '"Allow", "Forbid", "Replace"'),
    ("service", {"metadata.name": "a.b"}, INVALID, "metadata.name", "must not contain dots"),
    ("service", {"spec.ports": []}, REQUIRED, "spec.ports", ""),
    ("service", {"spec.type": "Loud"}, UNSUPPORTED, "spec.type", '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ("service", {"spec.ports.0.port": 0}, INVALID, "spec.ports[0].port", "between 1 and 65535"),
    ("service", {"spec.ports.1": {"port": 81}}, REQUIRED, "spec.ports[0].name", ""),
    ("service", {"spec.ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}, DUPLICATE, "spec.ports[1].name", '"a"'),
    ("service", {"spec.type": "ExternalName"}, REQUIRED, "spec.externalName", ""),
    ("service", {"spec.sessionAffinity": "Cookie"}, UNSUPPORTED, "spec.sessionAffinity", '"ClientIP", "None"'),
    ("service", {**HEADLESS, "spec.type": "NodePort"}, INVALID, "spec.clusterIPs[0]", "may not be set to 'None'"),
    ("slice", {"addressType": "IPX"}, UNSUPPORTED, "addressType", '"IPv4"'),
    ("slice", {"endpoints.0.addresses": ["nowhere"]}, INVALID, "endpoints[0].addresses[0]", "must be a valid IP address"),
    ("claim", {"spec.accessModes": []}, REQUIRED, "spec.accessModes", "at least 1 access mode is required"),
    ("claim", {"spec.accessModes": ["Often"]}, UNSUPPORTED, "spec.accessModes", '"ReadWriteOnce"'),
    ("claim", {"spec.resources.requests": {}}, REQUIRED, "spec.resources[storage]", ""),
    ("claim", {"spec.resources.requests.storage": "0"}, INVALID, "spec.resources[storage]", "must be greater than zero"),
    ("claim", {"spec.resources.requests.storage": "lots"}, INVALID, "spec.resources[storage]", "quantities must match"),
    ("claim", {"spec.volumeMode": "Tape"}, UNSUPPORTED, "spec.volumeMode", '"Block", "Filesystem"'),
    ("volume", {"spec.capacity": ...}, REQUIRED, "spec.capacity", ""),
    ("volume", {"spec.hostPath": ...}, REQUIRED, "spec", "must specify a volume type"),
    ("volume", {"spec.nfs": {"server": "s", "path": "/"}}, FORBIDDEN, "spec.nfs", "more than 1 volume type"),
    ("volume", {"spec.persistentVolumeReclaimPolicy": "Burn"}, UNSUPPORTED, "spec.persistentVolumeReclaimPolicy", '"Delete"'),
    ("class", {"provisioner": ""}, REQUIRED, "provisioner", ""),
    ("class", {"volumeBindingMode": "Later"}, UNSUPPORTED, "volumeBindingMode", '"Immediate", "WaitForFirstConsumer"'),
    ("config", {"data": {"a b": "x"}}, INVALID, "data[a b]", "a valid config key"),
    ("config", {"data": {"a": "x" * (1 << 20) + "y"}}, LONG, "", "1048576"),
    ("config", {"binaryData": {"a": "eA=="}}, INVALID, "data[a]", "duplicate of key present in binaryData"),
    ("secret", {"data": {"a": "?"}}, INVALID, "data[a]", "must be base64"),
    ("secret", {"type": "kubernetes.io/tls"}, REQUIRED, "data[tls.crt]", ""),
    ("node", {"spec.taints": [{"key": "a"}]}, REQUIRED, "metadata.taints[0].effect", ""),
    ("node", {"spec.taints": [{"key": "a", "effect": "Never"}]}, UNSUPPORTED, "metadata.taints[0].effect", '"NoSchedule"'),
    ("node", {"spec.taints": [{"key": "a", "effect": "NoSchedule"}] * 2}, DUPLICATE, "metadata.taints[1]", "NoSchedule"),
    ("role", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, REQUIRED, "rules[0].verbs", "Required value"),
    ("binding", {"roleRef.name": ""}, REQUIRED, "roleRef.name", ""),
    ("priority", {"value": 2_000_000_000}, FORBIDDEN, "value", "maximum allowed value"),
    ("namespace", {"metadata.name": "a.b"}, INVALID, "metadata.name", "must not contain dots"),
]

UPDATE = [
    ("pod", {"spec.containers.0.command": ["x"]}, FORBIDDEN, "spec", "pod updates may not change fields other than"),
    ("pod", {"spec.nodeName": "elsewhere"}, FORBIDDEN, "spec", "pod updates may not change fields"),
    ("pod", {"metadata.name": "q"}, INVALID, "metadata.name", "field is immutable"),
    ("deployment", {"spec.selector.matchLabels": {"app": "x", "b": "c"}}, INVALID, "spec.selector", "field is immutable"),
    ("job", {"spec.completions": 5}, INVALID, "spec.completions", "field is immutable"),
    ("job", {f"{T}.spec.containers.0.image": "j:2"}, INVALID, "spec.template.spec", "field is immutable"),
    ("statefulset", {"spec.serviceName": "other"}, INVALID, "spec.serviceName", "field is immutable"),
    ("service", {"spec.clusterIP": "10.0.0.2", "spec.clusterIPs": ["10.0.0.2"]}, INVALID, "spec.clusterIPs[0]", "may not change once set"),
    ("claim", {"spec.accessModes": ["ReadOnlyMany"]}, FORBIDDEN, "spec", "spec is immutable after creation"),
    ("claim", {"spec.resources.requests.storage": "2Gi"}, FORBIDDEN, "spec", "spec is immutable after creation"),
    ("bound claim", {"spec.resources.requests.storage": "1Mi"}, FORBIDDEN, "spec.resources.requests.storage", "field can not be less"),
    ("driver", {"spec.attachRequired": False}, INVALID, "spec.attachedRequired", "field is immutable"),
    ("node", {"spec.podCIDR": "10.9.0.0/24"}, FORBIDDEN, "spec.podCIDRs", "may not change podCIDR"),
    ("volume", {"spec.hostPath.path": "/y"}, FORBIDDEN, "spec.persistentvolumesource", "immutable after creation"),
    ("class", {"provisioner": "y"}, INVALID, "provisioner", "field is immutable"),
    ("secret", {"type": "other"}, INVALID, "type", "field is immutable"),
    ("binding", {"roleRef.name": "other"}, INVALID, "roleRef", '"Name":"other"}: field is immutable'),
    ("priority", {"value": 11}, FORBIDDEN, "value", "may not be changed in an update."),
    ("slice", {"addressType": "IPv6"}, INVALID, "addressType", "field is immutable"),
]
ALLOWED = [
    ("pod", {"spec.containers.0.image": "j:2"}),
    ("pod", {"spec.tolerations": [{"key": "a", "operator": "Exists"}]}),
    ("pod", {"metadata.labels": {"a": "b"}}),
    ("deployment", {"spec.replicas": 0, f"{T}.spec.containers.0.image": "j:2"}),
    ("statefulset", {"spec.replicas": 3}),
    ("job", {"spec.parallelism": 3, "spec.backoffLimit": 1}),
    ("service", {"spec.ports.0.port": 81}),
    ("bound claim", {"spec.resources.requests.storage": "2Gi"}),
    ("suspended job", {f"{T}.spec.nodeSelector": {"a": "b"}, f"{T}.spec.containers.0.resources": {"limits": {"cpu": "1"}}}),
]


@pytest.mark.parametrize("name", KINDS)
def test_the_valid_objects_of_these_tables_are_valid(name):
    group, plural, obj = KINDS[name]
    assert validate_create(resource(group, plural), defaulted(group, plural, obj)) == []


@pytest.mark.parametrize(("name", "changes", "reason", "field", "text"), CREATE, ids=str)
def test_a_new_object_is_refused(name, changes, reason, field, text):
    group, plural, obj = KINDS[name]
    found = validate_create(resource(group, plural), defaulted(group, plural, changed(obj, changes)))
    assert next((e.reason, e.field) for e in found if text in e.message) == (reason, field), found
    assert len(found) <= 3, found


@pytest.mark.parametrize(("name", "changes", "reason", "field", "text"), UPDATE, ids=str)
def test_an_update_is_refused(name, changes, reason, field, text):
    group, plural, obj = KINDS[name]
    old = defaulted(group, plural, obj | ({"spec": {**obj["spec"], **ADDRESS}} if name == "service" else {}))
    found = validate_update(resource(group, plural), defaulted(group, plural, changed(old, changes)), old)
    assert (reason, field) in {(e.reason, e.field) for e in found if text in e.message}, found


@pytest.mark.parametrize(("name", "changes"), ALLOWED, ids=str)
def test_an_update_is_allowed(name, changes):
    group, plural, obj = KINDS[name]
    old = defaulted(group, plural, obj)
    assert validate_update(resource(group, plural), defaulted(group, plural, changed(old, changes)), old) == []


def test_what_is_immutable_stays_so():
    group, plural, obj = KINDS["config"]
    old = {**obj, "immutable": True}
    for new in ({**obj, "immutable": False}, {**old, "data": {"a": "2"}}):
        assert any("field is immutable when `immutable` is set" in e.message for e in validate_update(resource(group, plural), new, old))


def test_no_finalizer_is_added_to_what_is_being_deleted():
    group, plural, obj = KINDS["config"]
    old = changed(obj, {"metadata.deletionTimestamp": "2026-01-01T00:00:00Z", "metadata.finalizers": ["a/b"]})
    added = validate_update(resource(group, plural), changed(old, {"metadata.finalizers": ["a/b", "a/c"]}), old)
    assert [(e.reason, e.field) for e in added] == [(FORBIDDEN, "metadata.finalizers")]
    assert validate_update(resource(group, plural), changed(old, {"metadata.finalizers": []}), old) == []


def test_the_answer_lists_every_cause():
    group, plural, obj = KINDS["deployment"]
    spoiled = defaulted(group, plural, changed(obj, {"spec.replicas": -1, f"{T}.spec.containers.0.image": ""}))
    error = to_invalid(resource(group, plural), "w", validate_create(resource(group, plural), spoiled))
    assert (error.code, error.reason) == (422, "Invalid")
    assert str(error).startswith('Deployment.apps "w" is invalid: [spec.replicas: Invalid value: -1: must be greater than')
    causes = error.status()["details"]["causes"]
    assert [(c["field"], c["reason"]) for c in causes] == [("spec.replicas", INVALID), (f"{T}.spec.containers[0].image", REQUIRED)]
