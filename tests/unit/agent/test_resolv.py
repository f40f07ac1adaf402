"""What stands in a pod's resolv.conf and hosts file."""

import pytest

from moorings_core.agent.resolv import ClusterDns, hostname, hosts_file, pod_dns, read_resolv_conf

from .builders import pod

CLUSTER = ClusterDns("10.96.0.10", "cluster.local")
NODE = (("192.0.2.53",), ("example.org",), ("timeout:1",))
SEARCHES = ("n.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org")
FIRST = (("10.96.0.10",), SEARCHES, ("ndots:5",))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, FIRST),
        ({"dnsPolicy": "Default"}, NODE),
        ({"hostNetwork": True}, NODE),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, FIRST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, (("1.1.1.1",), (), ())),
    ],
)
def test_the_policy_decides_who_is_asked(spec, expected):
    assert pod_dns(pod(**spec), CLUSTER, NODE) == expected


def test_a_pods_own_configuration_is_added_and_its_options_replace():
    own = {"nameservers": ["1.1.1.1", "10.96.0.10"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}
    assert pod_dns(pod(dnsConfig=own), CLUSTER, NODE) == (("10.96.0.10", "1.1.1.1"), (*SEARCHES, "x"), ("ndots:2", "edns0"))


def test_a_resolv_conf_is_read_and_a_missing_one_is_empty(tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_text("# comment\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch a b\nsearch c\n\noptions ndots:1\n")
    assert read_resolv_conf(file) == (("1.1.1.1", "2.2.2.2"), ("c",), ("ndots:1",))
    assert read_resolv_conf(tmp_path / "none") == ((), (), ())


def test_a_host_name_is_the_pods_wish_or_its_name_cut_to_what_a_kernel_takes():
    assert hostname(pod(hostname="wish")) == "wish"
    long = pod()
    long["metadata"]["name"] = "a" * 62 + ".b"
    assert hostname(long) == "a" * 62


def test_the_hosts_file_names_the_pod_and_its_aliases():
    spec = pod(hostname="h", subdomain="sub", hostAliases=[{"ip": "10.9.9.9", "hostnames": ["x", "y"]}])
    lines = hosts_file(spec, ["10.0.0.1"], "cluster.local").splitlines()
    assert "10.0.0.1\th.sub.n.svc.cluster.local\th" in lines
    assert lines[-1] == "10.9.9.9\tx\ty"


def test_on_the_nodes_network_the_hosts_file_begins_as_the_nodes():
    text = hosts_file(pod(hostAliases=[{"ip": "10.9.9.9", "hostnames": ["x"]}]), ["10.0.0.1"], "cluster.local", "127.0.0.1 node\n")
    assert text == "127.0.0.1 node\n10.9.9.9\tx\n"
