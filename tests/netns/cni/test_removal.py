"""A link that was removed is gone, although the kernel has not freed it yet."""

import pytest

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.namespaces import call_in
from moorings_core.kernel.rtnetlink.messages import VethEnd

pytestmark = pytest.mark.netns


def test_a_removed_link_leaves_its_name_and_index_to_the_next_at_once(fabric):
    node = fabric(nodes=1, start=False).nodes[0]

    def again() -> None:
        with rtnetlink.connect() as connection, open("/proc/thread-self/ns/net") as here:
            for _ in range(20):
                pair = VethEnd("moored", "02:00:00:00:00:01", 5000), VethEnd("peer", "02:00:00:00:00:02", 5001)
                connection.apply([rtnetlink.add_veth(*pair, here.fileno()), rtnetlink.set_link(5000, up=True)])
                rtnetlink.remove_link(connection, "moored")
                assert [link.name for link in connection.links()] == ["lo", "eth0"]
            rtnetlink.remove_link(connection, "moored")

    call_in(node.path, again)


def test_a_link_that_the_kernel_does_not_give_up_is_an_error(fabric):
    node = fabric(nodes=1, start=False).nodes[0]

    def remove() -> None:
        with rtnetlink.connect() as connection:
            rtnetlink.remove_link(connection, "lo")

    with pytest.raises(rtnetlink.RtnetlinkError, match="delete link lo: Operation not supported"):
        call_in(node.path, remove)
