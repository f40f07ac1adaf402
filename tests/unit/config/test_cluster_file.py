"""The cluster file: defaults, every field, and errors that name file, line, path and what was expected."""

import pytest

from moorings_core.config import ConfigError, UnknownBackend, load_file, load_text, with_backend, with_lab
from moorings_core.ports.cluster import FAST, ClusterConfig, StorageConfig, Timing

WHOLE = """
apiVersion: moorings/v1
kind: Cluster
metadata: {name: demo}
server: {run: [api], store: {backend: memory}, port: 7443}
network: {backend: routed, podCIDRs: [10.70.0.0/16, "fd00:70::/48"], nodePrefix: 25, allocateNodeCIDRs: false, mtu: 1400}
services: {CIDRs: [10.97.0.0/16], nodePorts: 30000-30100, dns: {domain: lab.local, upstreams: [192.0.2.1]}}
storage:
- {name: fast, backend: image, default: true, parameters: {fsType: xfs}}
cloud: {backend: metal, parameters: {pools: [192.0.2.0/28]}}
lab:
  profile: default
  nodes:
  - {name: server, roles: [server]}
  - {count: 2, cpu: 2, memory: 1Gi, labels: {zone: a}}
  - {prefix: edge, count: 1}
"""


def test_an_empty_file_is_the_default_cluster_with_three_lab_nodes():
    config = load_text("")
    assert config.network == ClusterConfig().network
    assert config.storage == (StorageConfig(default=True),)
    assert [n.name for n in config.lab.nodes] == ["server", "node-1", "node-2", "node-3"]
    assert config.timing == Timing()


def test_every_field_is_read():
    config = load_text(WHOLE)
    assert config.name == "demo"
    assert (config.server.run, config.server.port, config.server.store.backend) == (("api",), 7443, "memory")
    assert config.network.pod_cidrs == ("10.70.0.0/16", "fd00:70::/48")
    assert (config.network.backend, config.network.node_prefix, config.network.mtu) == ("routed", 25, 1400)
    assert not config.network.allocate_node_cidrs
    assert config.services.node_ports == (30000, 30100)
    assert (config.services.dns.domain, config.services.dns.upstreams) == ("lab.local", ("192.0.2.1",))
    assert config.storage == (StorageConfig("fast", "image", True, {"fsType": "xfs"}),)
    assert config.cloud.parameters == {"pools": ["192.0.2.0/28"]}
    assert [n.name for n in config.lab.nodes] == ["server", "node-1", "node-2", "edge-1"]
    assert (config.lab.nodes[1].cpu, config.lab.nodes[1].memory, config.lab.nodes[1].labels) == (2, 1 << 30, {"zone": "a"})


def test_a_lab_is_fast_unless_it_says_otherwise():
    assert load_text("lab: {profile: fast}").timing == FAST
    assert load_text("lab: {profile: default}").timing == Timing()
    assert load_text(with_lab("network: {backend: routed}")).timing == FAST
    assert with_lab(WHOLE) == WHOLE


@pytest.mark.parametrize(
    ("document", "line", "path", "expected"),
    [
        pytest.param("network:\n  backnd: vxlan\n", 2, "network.backnd", "did you mean 'backend'?", id="misspelt field"),
        pytest.param("netwrk: {}\n", 1, "netwrk", "no such field", id="misspelt section"),
        pytest.param("network:\n  mtu: big\n", 2, "network.mtu", "expected a whole number from 576 to 65535", id="mtu"),
        pytest.param("network: {podCIDRs: [10.0.0.1/8]}", 1, "network.podCIDRs[0]", "host bits", id="host bits set"),
        pytest.param("services:\n  nodePorts: 30000\n", 2, "services.nodePorts", "range of ports", id="no range"),
        pytest.param("storage:\n- name: a\n- name: a\n", 2, "storage", "'a' is given twice", id="class twice"),
        pytest.param("server: []\n", 1, "server", "expected a mapping, got a list", id="list for mapping"),
        pytest.param("server: {run: [api, kubelet]}", 1, "server.run[1]", "expected one of api", id="unknown part"),
        pytest.param("lab:\n  nodes:\n  - {name: a}\n", 3, "lab.nodes", "exactly one node with the role server", id="no server"),
        pytest.param("lab:\n  nodes:\n  - {memory: lots}\n", 3, "lab.nodes[0].memory", "512Mi", id="memory"),
        pytest.param("kind: Cluster\nkind: Cluster\n", 2, "kind", "given twice", id="duplicate"),
        pytest.param("a: [\n", 2, "", "not valid YAML", id="no yaml"),
        pytest.param("apiVersion: v2\n", 1, "apiVersion", "expected one of moorings/v1", id="version"),
    ],
)
def test_an_error_names_file_line_path_and_what_was_expected(tmp_path, document, line, path, expected):
    file = tmp_path / "cluster.yaml"
    file.write_text(document)
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    assert (caught.value.source, caught.value.line, caught.value.path) == (str(file), line, path)
    assert expected in caught.value.expected
    assert str(caught.value).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize("section", ["network", "services", "cloud", "runtime"])
def test_an_unknown_backend_lists_the_installed_ones(section):
    with pytest.raises(UnknownBackend) as caught:
        load_text(f"{section}: {{backend: nosuch}}")
    assert "'nosuch'" in str(caught.value)
    assert caught.value.installed, "the installed names are listed"


def test_with_backend_changes_one_choice_and_keeps_the_rest():
    changed = load_text(with_backend(WHOLE, "network", "vxlan"))
    assert changed.network.backend == "vxlan"
    assert changed.network.mtu == 1400
    assert load_text(with_backend("", "network", "routed")).network.backend == "routed"
