import pytest

from tests.etcd_process import Etcd


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    etcd = Etcd(tmp_path_factory.mktemp("etcd"))
    etcd.start()
    yield etcd
    etcd.stop()
