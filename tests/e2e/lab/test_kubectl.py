"""The unmodified kubectl, command by command. Each scenario is a table: command, what it must say (a regular expression)."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
REFUSED = "!"
"""Before an expectation: the command must fail, and say so."""

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one", "labels": {"app": "one"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", "echo started; exec httpd -f -p 8080"]}],
    },
}
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "ports": [{"containerPort": 80}]}],
            },
        },
    },
}


def play(lab, namespace, steps):
    """Run the steps in order; collect what was not as expected."""
    wrong = []
    for command, expected, *given in steps:
        stdin = yaml.safe_dump_all(given) if given else ""
        done = lab.kubectl("-n", namespace, *shlex.split(command), stdin=stdin, check=False)
        said = done.stdout + done.stderr
        refused = expected.startswith(REFUSED)
        if (done.returncode != 0) is not refused or not re.search(expected.removeprefix(REFUSED), said, re.MULTILINE):
            wrong.append(f"kubectl {command}: exit code {done.returncode}, expected {expected!r}, got:\n{said}")
    assert not wrong, "\n".join(wrong)


def test_typed_creations_arrive_as_protobuf_and_are_whole(lab, namespace):
    play(
        lab,
        namespace,
        [
            ("create configmap c --from-literal=a=1 --from-literal=b=two", "configmap/c created"),
            ("get configmap c -o jsonpath={.data}", r'^{"a":"1","b":"two"}$'),
            ("create secret generic s --from-literal=password=s3cret", "secret/s created"),
            ("get secret s -o jsonpath={.data.password}", "^czNjcmV0$"),
            ("create secret docker-registry r --docker-username=u --docker-password=p", "secret/r created"),
            ("get secret r -o jsonpath={.type}", "^kubernetes.io/dockerconfigjson$"),
            (f"create deployment d --image={IMAGE} --replicas=0 --port=80", "deployment.apps/d created"),
            ("get deployment d -o jsonpath={.spec.template.spec.containers[0].ports}", r'^\[{"containerPort":80,"protocol":"TCP"}\]$'),
            ("create serviceaccount robot", "serviceaccount/robot created"),
            (f"create job j --image={IMAGE} -- true", "job.batch/j created"),
            (f"create cronjob cj --image={IMAGE} --schedule='*/5 * * * *' -- true", "cronjob.batch/cj created"),
            ("create role reader --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/reader created"),
            ("get role reader -o jsonpath={.rules}", r'^\[{"apiGroups":\[""\],"resources":\["pods"\],"verbs":\["get","list"\]}\]$'),
            ("create rolebinding rb --role=reader --serviceaccount=x:robot", "rolebinding.rbac.authorization.k8s.io/rb created"),
            ("create quota q --hard=pods=5", "resourcequota/q created"),
            ("create poddisruptionbudget p --selector=app=d --min-available=1", "poddisruptionbudget.policy/p created"),
            ("create service clusterip cip --tcp=80:8080", "service/cip created"),
            ("create service nodeport np --tcp=80", "service/np created"),
            ("create service externalname en --external-name=example.com", "service/en created"),
            ("create ingress i --rule=example.com/*=cip:80", "ingress.networking.k8s.io/i created"),
            ("create token robot --duration=1h", r"^[\w-]+\.[\w-]+\.[\w-]+$"),
            ("create token absent", '!serviceaccounts "absent" not found'),
            ("autoscale deployment d --min=1 --max=3 --cpu=80%", "horizontalpodautoscaler.autoscaling/d autoscaled"),
            ("get hpa d", r"REFERENCE +TARGETS +MINPODS +MAXPODS +REPLICAS +AGE\nd +Deployment/d +.*80% +1 +3 +0"),
            ("create configmap c", '!configmaps "c" already exists'),
            ("get all,cm,secrets,roles,ingresses,hpa,cronjobs,quota,pdb", "cronjob.batch/cj"),
        ],
    )


def test_the_life_of_an_applied_object(lab, namespace):
    def web(**container):
        changed = json.loads(json.dumps(WEB))
        changed["spec"]["replicas"] = 0
        changed["spec"]["template"]["spec"]["containers"][0].update(container)
        return changed

    unknown = {**SETTINGS, "dat": {}, "metadata": {"name": "settings", "lables": {}}}
    play(
        lab,
        namespace,
        [
            ("diff -f -", r"!^\+  a: \"1\"", SETTINGS),
            ("apply -f -", "configmap/settings created", SETTINGS),
            ("apply -f -", "configmap/settings unchanged", SETTINGS),
            ("diff -f -", "", SETTINGS),
            ("apply -f -", "configmap/settings configured", {**SETTINGS, "data": {"b": "2"}}),
            ("get configmap settings -o jsonpath={.data}", r'^{"b":"2"}$'),
            ("apply view-last-applied configmap settings", 'b: "2"'),
            ("apply -f -", '!strict decoding error: unknown field "metadata.lables", unknown field "dat"', unknown),
            ("apply -f - --validate=warn", 'Warning: unknown field "dat"', unknown),
            ("apply -f - --dry-run=server", "created .server dry run.", web()),
            ("get deployment web", '!deployments.apps "web" not found'),
            ("apply -f -", "deployment.apps/web created", web()),
            ("apply -f -", "configured", web(ports=[{"containerPort": 80}, {"containerPort": 81}], env=[{"name": "A", "value": "x"}])),
            ("get deployment web -o jsonpath={..containerPort}", "^80 81$"),
            ("apply -f -", "configured", web(ports=[{"containerPort": 81}])),
            ("get deployment web -o jsonpath={..containerPort}", "^81$"),
            ("get deployment web -o jsonpath={..env}", "^$"),
            ("set image deployment/web main=other:1", "image updated"),
            ("set env deployment/web B=2", "env updated"),
            ("set resources deployment/web --limits=cpu=200m --requests=cpu=100m", "resource requirements updated"),
            ("get deployment web -o jsonpath={..resources}", r'^{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}$'),
            ("set serviceaccount deployment/web robot", "serviceaccount updated"),
            ("label configmap settings tier=front", "labeled"),
            ("label configmap settings tier=back", "!already has a value"),
            ("label configmap settings tier=back --overwrite", "labeled"),
            ("label configmap settings tier-", "unlabeled"),
            ("annotate deployment web note='a b'", "annotated"),
            ('patch deployment web -p \'{"spec":{"replicas":1}}\' --dry-run=server -o jsonpath={.spec.replicas}', "^1$"),
            ('patch deployment web --type=json -p \'[{"op":"test","path":"/spec/replicas","value":9}]\'', "!the server rejected"),
            ('patch deployment web --type=json -p \'[{"op":"replace","path":"/spec/paused","value":true}]\'', "patched"),
            ('patch deployment web --type=merge -p \'{"spec":{"paused":null}}\'', "patched"),
            ('patch deployment web --type=merge --subresource=status -p \'{"status":{"collisionCount":7}}\'', "patched"),
            ("get deployment web --subresource=status -o jsonpath={.status.collisionCount}", "^7$"),
            ("scale deployment web --replicas=1 --current-replicas=5", "!Expected replicas to be 5, was 0"),
            ("scale deployment web --replicas=0", "scaled"),
            ("expose deployment web --port=80 --target-port=8080 --name=front", "service/front exposed"),
            ("replace -f -", "configmap/settings replaced", SETTINGS),
            ("replace --force -f -", "configmap/settings replaced", SETTINGS),
            ("get configmap settings -o jsonpath={.data}", r'^{"a":"1"}$'),
            ("delete deployment,service --all", "deleted"),
            ("delete configmap settings --dry-run=server", "deleted"),
            ("get configmap settings", "settings"),
            ("delete -f -", 'configmap "settings" deleted', SETTINGS),
            ("delete configmap settings --ignore-not-found", "^$"),
            ("delete configmap settings", '!configmaps "settings" not found'),
        ],
    )


def test_pruning_takes_away_what_is_no_longer_in_the_set(lab, namespace):
    def member(name):
        return {**SETTINGS, "metadata": {"name": name, "labels": {"set": "x"}}}

    play(
        lab,
        namespace,
        [
            ("apply -f -", "configmap/b created", member("a"), member("b")),
            ("create configmap bystander", "created"),
            ("label configmap bystander set=x", "labeled"),
            ("apply --prune -l set=x --prune-allowlist=core/v1/ConfigMap -f -", "configmap/b pruned", member("a")),
            ("get configmaps -l set=x -o name", r"^configmap/a\nconfigmap/bystander\n$"),
        ],
    )


def test_edit_changes_what_the_editor_changed_and_refuses_what_is_invalid(lab, namespace):
    lab.apply(yaml.safe_dump(SETTINGS), namespace)
    lab.kubectl("label", "configmap", "settings", "keep=yes", "-n", namespace)

    def edit(script):
        return subprocess.run(
            [*lab.kubectl_command(), "-n", namespace, "edit", "configmap", "settings"],
            env={"KUBE_EDITOR": f"sed -i {script}", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "configmap/settings edited" in edit("'s/a: \"1\"/a: changed/'").stdout
    changed = lab.get("configmap", "settings", "-n", namespace)
    assert changed["data"] == {"a": "changed"}
    assert changed["metadata"]["labels"] == {"keep": "yes"}
    assert "no changes made" in edit("s/nothing/here/").stderr + edit("s/nothing/here/").stdout
    refused = edit("'s/keep: .*/keep: not_a valid value/'")
    assert refused.returncode != 0
    kept = Path(re.search(r'stored to "(\S+)"', refused.stderr)[1])
    assert "# * metadata.labels: Invalid value" in kept.read_text(), "the reasons stand in the file that the editor was shown again"
    kept.unlink()
    assert lab.get("configmap", "settings", "-n", namespace)["metadata"]["labels"] == {"keep": "yes"}


def test_lists_written_by_get_can_be_applied_created_and_replaced(lab, namespace):
    lab.kubectl("create", "configmap", "a", "-n", namespace)
    lab.kubectl("create", "secret", "generic", "b", "--from-literal=k=v", "-n", namespace)
    written = lab.kubectl("get", "configmap/a", "secret/b", "-n", namespace, "-o", "yaml").stdout
    assert "kind: List" in written
    lab.kubectl("replace", "-f", "-", "-n", namespace, stdin=written)
    lab.kubectl("delete", "-f", "-", "-n", namespace, stdin=written)
    bare = yaml.safe_load(written)
    for item in bare["items"]:
        item["metadata"] = {"name": item["metadata"]["name"], "namespace": namespace}
    lab.kubectl("create", "-f", "-", "-n", namespace, stdin=yaml.safe_dump(bare))
    assert lab.get("secret", "b", "-n", namespace)["data"] == {"k": "dg=="}
    bare["items"][0]["dta"] = {}
    refused = lab.kubectl("apply", "-f", "-", "-n", namespace, stdin=yaml.safe_dump(bare), check=False)
    assert 'unknown field "dta"' in refused.stderr


def test_reads_of_all_forms(lab, namespace):
    for number in range(5):
        lab.kubectl("create", "configmap", f"c{number}", f"--from-literal=n={number}", "-n", namespace)
    play(
        lab,
        namespace,
        [
            ("label configmap c3 c4 pick=me", "labeled"),
            ("get configmaps -l pick=me -o name", r"^configmap/c3\nconfigmap/c4\n$"),
            ("get configmaps -l 'pick notin (me),!other' -o name", "configmap/c0"),
            ("get configmaps -l '=='", "!BadRequest"),
            ("get configmaps --field-selector metadata.name=c1 -o name", r"^configmap/c1\n$"),
            ("get configmaps --field-selector data.n=1", '!field label not supported: data.n|"data.n" is not a known field selector'),
            ("get configmaps --chunk-size=2 -o name", r"c0\nconfigmap/c1\nconfigmap/c2\nconfigmap/c3\nconfigmap/c4"),
            ("get configmaps --sort-by=.metadata.name", r"c0(.|\n)*c1(.|\n)*c4"),
            ("get configmaps -o custom-columns=N:.metadata.name,V:.data.n", r"c4 +4"),
            ("get configmaps -o jsonpath={.items[*].data.n}", "0 1 2 3 4"),
            ("get configmaps -o wide --show-labels", r"c3 +1 +\S+ +pick=me"),
            ("get configmaps -L pick", r"PICK"),
            ("get cm/c1 cm/c2 -o name", r"^configmap/c1\nconfigmap/c2\n$"),
            ("get configmaps -A", rf"{namespace} +c4"),
            ("get nosuchkind", '!the server doesn\'t have a resource type "nosuchkind"'),
            ("get events", ""),
            ("describe configmap c1", r"n:\n----\n1"),
            ("explain deployment.spec.strategy", "rollingUpdate"),
            ("explain pods --recursive", "ephemeralContainers"),
            ("explain pods.spec.nosuch", '!field "nosuch" does not exist'),
            ("api-resources --api-group=apps -o name", r"^deployments.apps$"),
            ("api-resources --verbs=list --namespaced -o name", "^configmaps$"),
            ("api-versions", "^batch/v1$"),
            ("version", "Server Version: v1.37"),
            ("cluster-info", "control plane"),
            ("auth can-i create pods", "^yes$"),
            ("auth can-i --list", r"\*\.\*"),
            ("auth whoami", "admin"),
            ("get --raw /healthz", "^ok$"),
            ("get --raw /readyz?verbose", r"\[\+\]store ok"),
            ("get --raw /version", '"minor":"37"'),
            ("get --raw /api/v1/namespaces/x/nosuch", "!could not find the requested resource"),
            ("get componentstatuses", ""),
            ("top pods", "!Metrics API not available"),
        ],
    )


def test_pods_are_looked_into(lab, namespace):
    lab.apply(yaml.safe_dump(POD), namespace)
    lab.wait_ready("one", namespace=namespace)
    play(
        lab,
        namespace,
        [
            ("get pod one", r"one +1/1 +Running +0"),
            ("get pod one -o wide", r"one +1/1 +Running +0 +\S+ +10\.\S+ +\S+ +<none> +<none>"),
            ("describe pod one", r"Started +\S+ +\S+ +Container started"),
            ("logs one", "^started$"),
            ("logs one --tail=0", "^$"),
            ("logs one --previous", "!previous terminated container"),
            ("exec one -- echo hello", "^hello$"),
            ("exec one -- sh -c 'exit 7'", "!exit code 7"),
            ("exec -i one -- cat", "^app: one|name: one", POD),
            ("exec nosuch -- true", '!pods "nosuch" not found'),
            ("wait pod/one --for=condition=Ready --timeout=10s", "condition met"),
            ("wait pod/one --for=jsonpath={.status.phase}=Running --timeout=10s", "condition met"),
            ("set image pod/one main=moorings.dev/busybox:1", ""),
            ('patch pod one -p \'{"spec":{"hostNetwork":true}}\'', "!pod updates may not change fields"),
            ("run two --image=moorings.dev/busybox:1 --restart=Never --command -- sh -c 'echo once'", "pod/two created"),
            ("wait pod/two --for=jsonpath={.status.phase}=Succeeded --timeout=30s", "condition met"),
            ("logs two", "^once$"),
            ("get pods --field-selector=status.phase=Running -o name", r"^pod/one\n$"),
            ("debug one --image=moorings.dev/busybox:1 -c look -- sleep 600", ""),
            ("delete pod one two --now", "deleted"),
            ("get pods", "No resources found"),
        ],
    )


def test_a_watch_shows_each_change_and_ends_a_wait(lab, namespace):
    command = [*lab.kubectl_command(), "-n", namespace, "get", "configmaps", "--watch", "-l", "pick=me", "--output-watch-events"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    waiting = [*lab.kubectl_command(), "-n", namespace, "wait", "configmap/c", "--for=create", "--timeout=30s"]
    created = subprocess.Popen(waiting, stdout=subprocess.PIPE, text=True)
    steps = [
        "create configmap c",
        "label configmap c pick=me",
        "annotate configmap c note=1",
        "label configmap c pick=other --overwrite",
        "label configmap c pick=me --overwrite",
        "delete configmap c",
    ]
    for step in steps:
        lab.kubectl("-n", namespace, *shlex.split(step))
        if step == steps[0]:
            assert created.wait(30) == 0  # kubectl looks twice a second: later it might be gone again
    seen = []
    for line in watching.stdout:
        seen.append(line.split()[0])
        if seen.count("DELETED") == 2:
            break
    watching.terminate()
    watching.wait(10)
    watching.stdout.close()
    assert [s for s in seen if s != "EVENT"] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    created.communicate()


def test_finalizers_hold_a_deletion_and_new_ones_are_refused(lab, namespace):
    held = {**SETTINGS, "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    lab.apply(yaml.safe_dump(held), namespace)
    uid = lab.get("configmap", "held", "-n", namespace)["metadata"]["uid"]
    play(
        lab,
        namespace,
        [
            ("delete configmap held --wait=false", "deleted"),
            ("get configmap held -o jsonpath={.metadata.deletionTimestamp}", r"^\d{4}-"),
            (
                'patch configmap held --type=merge -p \'{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}\'',
                "!no new finalizers can be added if the object is being deleted",
            ),
            ("create configmap held", "!already exists"),
            ('patch configmap held --type=merge -p \'{"metadata":{"finalizers":null}}\'', "patched"),
            ("get configmap held", "!not found"),
            ("create configmap held", "created"),
        ],
    )
    assert lab.get("configmap", "held", "-n", namespace)["metadata"]["uid"] != uid


def test_of_two_writers_of_one_version_the_second_is_told(lab, namespace):
    lab.apply(yaml.safe_dump(SETTINGS), namespace)
    first = lab.get("configmap", "settings", "-n", namespace)
    for value, code in (("2", 0), ("3", 1)):
        changed = json.dumps({**first, "data": {"a": value}})
        done = lab.kubectl("replace", "-f", "-", "-n", namespace, stdin=changed, check=False)
        assert done.returncode == code, done.stderr
    assert "the object has been modified; please apply your changes to the latest version and try again" in done.stderr
    other = json.dumps({**first, "metadata": {**first["metadata"], "uid": "other", "resourceVersion": ""}})
    assert "Conflict" in lab.kubectl("replace", "-f", "-", "-n", namespace, stdin=other, check=False).stderr
    assert lab.get("configmap", "settings", "-n", namespace)["data"] == {"a": "2"}


def test_an_update_that_changes_nothing_leaves_the_version_alone(lab, namespace):
    lab.apply(yaml.safe_dump(WEB | {"spec": {**WEB["spec"], "replicas": 0}}), namespace)
    lab.wait_for("settled", lambda: lab.get("deployment", "web", "-n", namespace).get("status", {}).get("observedGeneration") == 1)
    before = lab.get("deployment", "web", "-n", namespace)["metadata"]
    lab.kubectl("patch", "deployment", "web", "-n", namespace, "-p", '{"spec":{"replicas":0}}')
    lab.kubectl("label", "deployment", "web", "x=y", "-n", namespace)
    lab.kubectl("label", "deployment", "web", "x-", "-n", namespace)
    after = lab.get("deployment", "web", "-n", namespace)["metadata"]
    assert (after["generation"], after.get("labels")) == (before["generation"], before.get("labels"))
    assert int(after["resourceVersion"]) > int(before["resourceVersion"])
    lab.kubectl("apply", "-f", "-", "-n", namespace, stdin=yaml.safe_dump(WEB | {"spec": {**WEB["spec"], "replicas": 0}}))
    assert lab.get("deployment", "web", "-n", namespace)["metadata"]["resourceVersion"] == after["resourceVersion"]


def test_server_side_apply_owns_conflicts_is_forced_and_takes_over_from_client_side(lab, namespace):
    def settings(**data):
        return {**SETTINGS, "data": data}

    def web(replicas=0, **container):
        changed = json.loads(json.dumps(WEB))
        changed["spec"]["replicas"] = replicas
        changed["spec"]["template"]["spec"]["containers"][0].update(container)
        return changed

    play(
        lab,
        namespace,
        [
            ("apply --server-side -f -", "configmap/settings serverside-applied", settings(a="1", b="2")),
            ("apply --server-side -f -", "configmap/settings serverside-applied", settings(a="1", b="2")),
            ("apply --server-side -f - --field-manager=other", r'!conflict with "kubectl": \.data\.a', settings(a="9")),
            ("apply --server-side -f - --field-manager=other --force-conflicts", "serverside-applied", settings(a="9", c="3")),
            ("get configmap settings -o jsonpath={.data}", r'^{"a":"9","b":"2","c":"3"}$'),
            ("apply --server-side -f -", "serverside-applied", settings(b="2")),
            ("get configmap settings -o jsonpath={.data}", r'^{"a":"9","b":"2","c":"3"}$'),
            ("apply --server-side -f - --field-manager=other", "serverside-applied", settings(a="9")),
            ("get configmap settings -o jsonpath={.data}", r'^{"a":"9","b":"2"}$'),
            ("get configmap settings -o yaml --show-managed-fields", r"operation: Apply"),
            ("diff --server-side -f -", r"!\+  b: \"7\"", settings(b="7")),
            ("apply --server-side -f - --dry-run=server", "serverside-applied .server dry run.", settings(b="7")),
            ("get configmap settings -o jsonpath={.data.b}", "^2$"),
            ("apply --server-side -f -", '!unknown field "dat"', {**SETTINGS, "dat": {}}),
            ("apply -f -", "deployment.apps/web created", web()),
            ("apply --server-side -f - --field-manager=other", '!conflict with "kubectl-client-side-apply"', web(image="other:1")),
            ("apply --server-side -f -", "deployment.apps/web serverside-applied", web(image="other:1")),
            ("get deployment web -o jsonpath={..image}", "^other:1$"),
            ("scale deployment web --replicas=1", "scaled"),
            ("apply --server-side -f -", r"!conflict with .*\.spec\.replicas", web(image="other:1")),
            ("apply --server-side -f - --force-conflicts", "serverside-applied", web(image="other:1")),
            ("get deployment web -o jsonpath={.spec.replicas}", "^0$"),
        ],
    )
