"""What the containers of one pod share, and what they do not."""

import pytest

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
SERVE = "echo from-web > /index.html; exec httpd -f -p 8080 -h /"


@pytest.fixture(scope="module")
def shared(lab):
    with room(lab) as made:
        made.apply(
            pod("pair", container("web", SERVE), container("other"), hostname="inside", subdomain="sub"),
            pod("family", container("one", "exec sleep 7777"), container("two"), shareProcessNamespace=True),
            pod("on-node", container(), hostNetwork=True, hostPID=True, hostAliases=[{"ip": "10.9.8.7", "hostnames": ["far", "away"]}]),
            pod("aliases", container(), hostAliases=[{"ip": "10.9.8.7", "hostnames": ["far", "away"]}]),
        )
        made.ready("pair", "family", "on-node", "aliases")
        yield made


def test_containers_of_a_pod_have_one_address_and_one_localhost(shared):
    address = shared.get("pair")["status"]["podIP"]
    for name in ("web", "other"):
        assert address in shared.sh("pair", "ip -4 addr show eth0", name)
    assert shared.sh("pair", "wget -qO- http://127.0.0.1:8080/", "other") == "from-web"


def test_containers_of_a_pod_share_ipc_and_not_processes(shared):
    look = "for kind in ipc pid net; do readlink /proc/self/ns/$kind; done"
    web, other = (shared.sh("pair", look, name).split() for name in ("web", "other"))
    assert web[0] == other[0]
    assert web[1] != other[1]
    assert web[2] == other[2]
    assert "httpd" not in shared.sh("pair", "ps", "other")


def test_shared_memory_of_one_container_is_the_others(shared):
    shared.sh("pair", "echo both > /dev/shm/word", "web")
    assert shared.sh("pair", "cat /dev/shm/word", "other") == "both"


def test_share_process_namespace_shows_each_container_the_others_processes(shared):
    assert "sleep 7777" in shared.sh("family", "ps", "two")


def test_host_name_and_hosts_file_are_the_pods(shared):
    address = shared.get("pair")["status"]["podIP"]
    assert shared.sh("pair", "hostname", "other") == "inside"
    full = f"inside.sub.{shared.namespace}.svc.cluster.local"
    assert f"{address}\t{full}\tinside" in shared.sh("pair", "cat /etc/hosts", "other")


def test_host_aliases_are_in_the_hosts_file(shared):
    for name in ("aliases", "on-node"):
        assert "10.9.8.7\tfar\taway" in shared.sh(name, "cat /etc/hosts").splitlines()


def test_a_pod_on_the_nodes_network_has_the_nodes_address_and_sees_its_processes(shared):
    status = shared.get("on-node")["status"]
    assert status["podIP"] == status["hostIP"]
    assert status["hostIP"] in shared.sh("on-node", "ip -4 addr")
    assert "containerd" in shared.sh("on-node", "ps")
