"""Deployments, Jobs, ownership and Services in a real cluster, driven by the unmodified kubectl."""

from __future__ import annotations

import subprocess
import threading

import pytest
import yaml

from moorings_labs.cluster import CommandFailed

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
SERVE = "mkdir -p /www && echo $(VERSION) >/www/version && exec httpd -f -p 8080 -h /www"


def container(version, ready):
    return {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "VERSION", "value": version}],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"exec": {"command": ["test", "-e", ready]}, "periodSeconds": 1},
    }


def deployment(version="one", ready="/www/version", name="web", **spec):
    labels = {"app": name}
    body = {"terminationGracePeriodSeconds": 1, "containers": [container(version, ready)]}
    template = {"metadata": {"labels": labels}, "spec": body}
    full = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template, **spec}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": full})


def job(name, command, **spec):
    body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    body["containers"] = [{"name": "main", "image": IMAGE, "command": ["sh", "-c", command]}]
    full = {"template": {"spec": body}, **spec}
    return yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": full})


def names(lab, kind, namespace, *words):
    return [i["metadata"]["name"] for i in lab.get(kind, "-n", namespace, *words)["items"]]


def versions(lab, namespace, name="web"):
    """The VERSION of every pod that is not going away."""
    pods = [p for p in lab.get("pods", "-n", namespace, "-l", f"app={name}")["items"] if "deletionTimestamp" not in p["metadata"]]
    return sorted(p["spec"]["containers"][0]["env"][0]["value"] for p in pods)


class Watching:
    """`kubectl get -w` in a thread: what the watch showed while something went on."""

    def __init__(self, lab, *words):
        self._process = subprocess.Popen(
            [*lab.kubectl_command(), "get", *words, "--watch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self._seen = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._seen.wait(20), "the watch shows nothing"

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.split())
            self._seen.set()

    def end(self):
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)
        self._process.stdout.close()
        return self.lines


def test_a_rolling_update_keeps_its_promises_is_paused_undone_and_scaled(lab, namespace):
    rolling = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
    ns = ("-n", namespace)
    lab.apply(deployment("one", **rolling), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    columns = "custom-columns=READY:.status.readyReplicas,TOTAL:.status.replicas,AVAILABLE:.status.availableReplicas"
    watching = Watching(lab, "deployment", "web", *ns, "-o", columns)
    lab.apply(deployment("two", **rolling), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    seen = watching.end()[1:]
    assert len(seen) > 3
    assert all(int(available) >= 3 and int(total) <= 4 for _, total, available in seen), seen
    assert versions(lab, namespace) == ["two"] * 3
    history = lab.kubectl("rollout", "history", "deployment/web", *ns).stdout
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]

    lab.kubectl("rollout", "pause", "deployment/web", *ns)
    lab.kubectl("set", "env", "deployment/web", "VERSION=three", *ns)
    lab.kubectl("scale", "deployment/web", "--replicas=4", *ns)
    lab.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=4", *ns, "--timeout=60s")
    assert versions(lab, namespace) == ["two"] * 4
    with pytest.raises(CommandFailed, match="paused"):
        lab.kubectl("rollout", "undo", "deployment/web", *ns)
    lab.kubectl("rollout", "resume", "deployment/web", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    assert versions(lab, namespace) == ["three"] * 4

    lab.kubectl("rollout", "undo", "deployment/web", "--to-revision=1", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    assert versions(lab, namespace) == ["one"] * 4
    assert lab.get("deployment", "web", *ns)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"
    assert len(names(lab, "replicasets", namespace)) == 3

    lab.kubectl("rollout", "restart", "deployment/web", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    lab.kubectl("scale", "deployment/web", "--replicas=0", *ns)
    lab.wait_for("no pods", lambda: not names(lab, "pods", namespace))


def test_a_broken_update_stops_says_so_and_leaves_the_old_pods_serving(lab, namespace):
    ns = ("-n", namespace)
    lab.apply(deployment("good", progressDeadlineSeconds=2), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    lab.apply(deployment("bad", ready="/never", progressDeadlineSeconds=2), namespace)
    with pytest.raises(CommandFailed, match="exceeded its progress deadline"):
        lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    assert versions(lab, namespace) == ["bad", "good", "good", "good"]
    conditions = {c["type"]: c for c in lab.get("deployment", "web", *ns)["status"]["conditions"]}
    assert (conditions["Progressing"]["status"], conditions["Progressing"]["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert conditions["Available"]["status"] == "True"
    lab.kubectl("rollout", "undo", "deployment/web", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    assert versions(lab, namespace) == ["good"] * 3


def test_recreate_never_runs_two_revisions_at_once(lab, namespace):
    ns = ("-n", namespace)
    lab.apply(deployment("one", strategy={"type": "Recreate"}, replicas=2), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    watching = Watching(lab, "pods", *ns, "-o", "custom-columns=V:.spec.containers[0].env[0].value,PHASE:.status.phase")
    lab.apply(deployment("two", strategy={"type": "Recreate"}, replicas=2), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    seen = watching.end()
    first_new = next(i for i, line in enumerate(seen) if line[0] == "two")
    assert all(version == "two" or phase in ("Succeeded", "Failed") for version, phase in seen[first_new:]), seen
    assert versions(lab, namespace) == ["two"] * 2


def test_a_pod_that_is_deleted_is_replaced_and_a_pod_that_matches_is_adopted(lab, namespace):
    ns = ("-n", namespace)
    lab.apply(deployment("one", replicas=2), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    first, second = names(lab, "pods", namespace)
    lab.kubectl("delete", "pod", first, *ns, "--wait=false")
    replaced = lab.wait_for("another pod", lambda: [n for n in names(lab, "pods", namespace) if n not in (first, second)])
    lab.kubectl("label", "pod", second, *ns, "app=freed", "--overwrite")
    lab.wait_for("a pod in the place of the freed one", lambda: len(set(names(lab, "pods", namespace, "-l", "app=web")) - {*replaced}) > 0)
    lab.wait_for("nobody owns it", lambda: "ownerReferences" not in lab.get("pod", second, *ns)["metadata"])
    lab.kubectl("label", "pod", second, *ns, "app=web", "--overwrite")
    lab.wait_for("two pods again", lambda: len(versions(lab, namespace)) == 2)
    set_ = lab.get("replicasets", *ns)["items"][0]
    owners = [p["metadata"]["ownerReferences"][0] for p in lab.get("pods", *ns, "-l", "app=web")["items"]]
    assert {(o["kind"], o["name"], o["uid"]) for o in owners} == {("ReplicaSet", set_["metadata"]["name"], set_["metadata"]["uid"])}


def test_jobs_count_completions_run_in_parallel_and_give_up(lab, namespace):
    ns = ("-n", namespace)
    indexed = job("indexed", "echo $JOB_COMPLETION_INDEX", completions=4, parallelism=4, completionMode="Indexed")
    many = job("many", "true", completions=5, parallelism=2)
    failing = job("failing", "exit 3", backoffLimit=0)
    held = job("held", "true", suspend=True)
    late = job("late", "sleep 3600", activeDeadlineSeconds=1)
    lab.apply("---\n".join((indexed, many, failing, held, late)), namespace)
    lab.kubectl("wait", "--for=condition=Complete", "job/many", "job/indexed", *ns, "--timeout=60s")
    lab.kubectl("wait", "--for=condition=Failed", "job/failing", "job/late", *ns, "--timeout=60s")
    jobs = {j["metadata"]["name"]: j for j in lab.get("jobs", *ns)["items"]}
    assert (jobs["many"]["status"]["succeeded"], jobs["many"]["status"].get("active", 0)) == (5, 0)
    assert jobs["indexed"]["status"]["completedIndexes"] == "0-3"
    failed = {n: [c["reason"] for c in jobs[n]["status"]["conditions"] if c["type"] == "Failed"] for n in ("failing", "late")}
    assert failed == {"failing": ["BackoffLimitExceeded"], "late": ["DeadlineExceeded"]}
    logs = {lab.kubectl("logs", p, *ns).stdout.strip() for p in names(lab, "pods", namespace, "-l", "job-name=indexed")}
    assert logs == {"0", "1", "2", "3"}
    assert len(names(lab, "pods", namespace, "-l", "job-name=many")) == 5
    assert names(lab, "pods", namespace, "-l", "job-name=held") == []
    assert lab.kubectl("get", "job", "many", *ns).stdout.splitlines()[1].split()[:3] == ["many", "Complete", "5/5"]
    lab.kubectl("patch", "job", "held", *ns, "-p", '{"spec":{"suspend":false}}')
    lab.kubectl("wait", "--for=condition=Complete", "job/held", *ns, "--timeout=60s")
    finished = lab.get("pods", *ns, "-l", "job-name=many")["items"]
    assert all(not p["metadata"].get("finalizers") for p in finished), "counted pods keep no finalizer"


def test_deletion_cascades_as_asked(lab, namespace):
    ns = ("-n", namespace)
    lab.apply("---\n".join(deployment("one", name=n, replicas=1) for n in ("back", "front", "orphan")), namespace)
    for name in ("back", "front", "orphan"):
        lab.kubectl("rollout", "status", f"deployment/{name}", *ns, "--timeout=60s")
    watching = Watching(lab, "deployment", "front", *ns, "-o", "custom-columns=F:.metadata.finalizers,D:.metadata.deletionTimestamp")
    lab.kubectl("delete", "deployment", "back", *ns)
    lab.kubectl("delete", "deployment", "orphan", *ns, "--cascade=orphan")
    lab.kubectl("delete", "deployment", "front", *ns, "--cascade=foreground", "--timeout=60s")
    assert names(lab, "pods", namespace, "-l", "app=front") == [], "foreground: the pods go before their owner"
    assert ["[foregroundDeletion]"] in [line[:1] for line in watching.end()]
    lab.wait_for("background: the pods go", lambda: not names(lab, "pods", namespace, "-l", "app=back"))
    sets = lab.get("replicasets", *ns)["items"]
    assert [s["metadata"]["labels"]["app"] for s in sets] == ["orphan"]
    assert "ownerReferences" not in sets[0]["metadata"]
    assert len(names(lab, "pods", namespace, "-l", "app=orphan")) == 1
    lab.apply(deployment("one", name="orphan", replicas=1), namespace)
    uid = lab.get("deployment", "orphan", *ns)["metadata"]["uid"]
    lab.wait_for("adopted", lambda: lab.get("replicasets", *ns)["items"][0]["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid)
    assert len(names(lab, "pods", namespace, "-l", "app=orphan")) == 1


def test_what_belongs_to_nobody_that_lives_is_collected(lab, namespace):
    ns = ("-n", namespace)
    lab.kubectl("create", "configmap", "owner", *ns)
    uid = lab.get("configmap", "owner", *ns)["metadata"]["uid"]

    def owned(name, owner_uid):
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner_uid}
        return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": [reference]}})

    lab.apply(f"{owned('mine', uid)}---\n{owned('stray', '00000000-0000-0000-0000-000000000000')}", namespace)
    lab.wait_for("the stray one is gone", lambda: names(lab, "secrets", namespace) == ["mine"])
    lab.kubectl("delete", "configmap", "owner", *ns)
    lab.wait_for("the owned one follows", lambda: names(lab, "secrets", namespace) == [])


def test_a_namespace_goes_with_all_that_is_in_it_and_takes_nothing_new_meanwhile(lab, namespace):
    name = f"{namespace}-doomed"
    ns = ("-n", name)
    lab.kubectl("create", "namespace", name)
    lab.wait_for("account", lambda: lab.get("serviceaccount", "default", *ns))
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    lab.apply(f"{deployment('one', replicas=2)}---\n{yaml.safe_dump(held)}", name)
    lab.kubectl("create", "secret", "generic", "s", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    lab.kubectl("delete", "namespace", name, "--wait=false")

    def stuck():
        told = {c["type"]: c for c in lab.get("namespace", name)["status"].get("conditions", ())}
        remaining = told.get("NamespaceContentRemaining", {})
        return remaining.get("status") == "True" and "configmaps" in remaining["message"] and "pods" not in remaining["message"]

    lab.wait_for("only the held object is left, and the namespace says so", stuck, timeout=60)
    assert "Terminating" in lab.kubectl("get", "namespace", name).stdout
    with pytest.raises(CommandFailed, match="because it is being terminated"):
        lab.kubectl("create", "configmap", "late", *ns)
    lab.kubectl("patch", "configmap", "held", *ns, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    lab.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=60s")
    with pytest.raises(CommandFailed, match="not found"):
        lab.kubectl("get", "namespace", name)


def test_a_service_s_endpoints_follow_its_pods(lab, namespace):
    ns = ("-n", namespace)
    lab.apply(deployment("one", replicas=2), namespace)
    lab.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080", *ns)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")

    def addresses(ready=True):
        slices = lab.get("endpointslices", *ns, "-l", "kubernetes.io/service-name=web")["items"]
        return {a for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"] is ready for a in e["addresses"]}

    def pods():
        return {p["metadata"]["name"]: p["status"].get("podIP") for p in lab.get("pods", *ns)["items"]}

    lab.wait_for("both pods are endpoints", lambda: addresses() == set(pods().values()) and len(pods()) == 2)
    slice_ = lab.get("endpointslices", *ns)["items"][0]
    assert slice_["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert slice_["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert {e["targetRef"]["name"] for e in slice_["endpoints"]} == set(pods())
    legacy = lab.get("endpoints", "web", *ns)["subsets"][0]
    assert {a["ip"] for a in legacy["addresses"]} == set(pods().values())
    name, address = next(iter(pods().items()))
    lab.exec(name, "rm", "/www/version", namespace=namespace)
    lab.wait_for("the one that is not ready is out", lambda: addresses() == set(pods().values()) - {address})
    assert addresses(ready=False) == {address}
    lab.exec(name, "touch", "/www/version", namespace=namespace)
    lab.wait_for("and back in", lambda: len(addresses()) == 2)
    lab.kubectl("scale", "deployment", "web", "--replicas=0", *ns)
    lab.wait_for("no endpoint is left", lambda: addresses() == set())
    lab.kubectl("delete", "service", "web", *ns)
    lab.wait_for("nor any slice", lambda: not names(lab, "endpointslices", namespace))


def test_whoever_writes_is_named_for_what_it_wrote_and_kubectl_takes_its_own_over(lab, namespace):
    lab.apply(deployment(replicas=1), namespace)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    def managers(kind, *words):
        found = lab.get(kind, "-n", namespace, "--show-managed-fields", *words)
        metadata = found["metadata"] if "items" not in found else found["items"][0]["metadata"]
        return {(e["manager"], e["operation"], e.get("subresource", "")) for e in metadata["managedFields"]}

    status = ("kube-controller-manager", "Update", "status")
    assert managers("deployment", "web") == {("kubectl-client-side-apply", "Update", ""), status}
    assert managers("replicasets", "-l", "app=web") == {("kube-controller-manager", "Update", ""), status}
    assert managers("pods", "-l", "app=web") == {("kube-controller-manager", "Update", ""), ("kubelet", "Update", "status")}
    lab.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", stdin=deployment(version="two", replicas=1))
    assert managers("deployment", "web") == {("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", ""), status}
    refused = lab.kubectl(
        "apply",
        "--server-side",
        "--field-manager=other",
        "-n",
        namespace,
        "-f",
        "-",
        stdin=deployment(version="two", replicas=2),
        check=False,
    )
    assert refused.returncode and 'conflict with "kubectl": .spec.replicas' in refused.stderr
