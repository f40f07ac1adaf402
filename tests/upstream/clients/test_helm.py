"""helm 3 installs, upgrades, rolls back, tests and uninstalls a chart; it waits for what it made with its own eyes."""

import json

import pytest

from moorings_labs.cluster import run

IMAGE = "moorings.dev/busybox:1"
FILES = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: '7'\n",
    "values.yaml": f"replicas: 1\npage: one\nimage: {IMAGE}\nfail: false\n",
    "templates/_helpers.tpl": '{{- define "web.labels" -}}\napp.kubernetes.io/instance: {{ .Release.Name }}\n{{- end -}}\n',
    "templates/page.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {index.html: {{ .Values.page | quote }}}
""",
    "templates/web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: { {{- include "web.labels" . -}} }}
  template:
    metadata:
      labels: { {{- include "web.labels" . -}} }
      annotations: {page: {{ .Values.page | sha256sum }}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: {{ .Values.image }}
        command: [httpd, -f, -p, "8080", -h, /page]
        readinessProbe: {httpGet: {port: 8080, path: /index.html}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /page}]
      volumes: [{name: page, configMap: {name: {{ .Release.Name }}}}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: { {{- include "web.labels" . -}} }, ports: [{port: 80, targetPort: 8080}]}
""",
    "templates/before.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: {{ .Values.image }}, command: [{{ if .Values.fail }}"false"{{ else }}"true"{{ end }}]}]
""",
    "templates/tests/page.yaml": """
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: "before-hook-creation"}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: {{ .Values.image }}, command: [sh, -c, "wget -qO- http://{{ .Release.Name }} | grep -x {{ .Values.page }}"]}
""",
    "crds/boats.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.helm.example.org}
spec:
  group: helm.example.org
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer}}}}}}
""",
    "templates/boat.yaml": """
apiVersion: helm.example.org/v1
kind: Boat
metadata: {name: {{ .Release.Name }}}
spec: {length: {{ len .Values.page }}}
""",
}


@pytest.fixture
def helm(lab, namespace, program, tmp_path):
    chart = tmp_path / "chart"
    for name, text in FILES.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    homes = {f"HELM_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}

    def call(*words, check=True):
        command = [str(program("helm")), "--kubeconfig", str(lab.kubeconfig), "-n", namespace]
        return run([*command, *(str(chart) if word == "CHART" else word for word in words)], check=check, timeout=90, env=homes)

    yield call
    lab.kubectl("delete", "crd", "boats.helm.example.org", "--ignore-not-found")


def test_helm_installs_upgrades_rolls_back_and_uninstalls_a_chart(lab, namespace, helm):
    helm("install", "shop", "CHART", "--wait", "--timeout", "60s")
    assert lab.get("deployment", "shop", "-n", namespace)["status"]["readyReplicas"] == 1
    assert lab.get("boats.helm.example.org", "shop", "-n", namespace)["spec"] == {"length": 3}
    assert "Succeeded" in helm("test", "shop", "--timeout", "60s").stdout
    helm("upgrade", "shop", "CHART", "--set", "page=three,replicas=2", "--wait", "--timeout", "60s")
    assert lab.get("deployment", "shop", "-n", namespace)["status"]["readyReplicas"] == 2
    assert lab.get("boats.helm.example.org", "shop", "-n", namespace)["spec"] == {"length": 5}
    refused = helm("upgrade", "shop", "CHART", "--set", "replicas=-1", check=False)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in refused.stderr
    failed = helm("upgrade", "shop", "CHART", "--set", "fail=true", "--timeout", "60s", check=False)
    assert failed.returncode == 1
    assert "pre-upgrade hooks failed" in failed.stderr
    helm("rollback", "shop", "1", "--wait", "--timeout", "60s")
    assert lab.get("configmap", "shop", "-n", namespace)["data"] == {"index.html": "one"}
    history = json.loads(helm("history", "shop", "-o", "json").stdout)
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "failed", "failed", "deployed"]
    helm("uninstall", "shop", "--wait", "--timeout", "60s")
    assert json.loads(helm("list", "--all", "-o", "json").stdout) == []
    assert not lab.get("deployments,services,boats.helm.example.org", "-n", namespace)["items"]
