"""Volumes of files: what they show, and that they change as a whole."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.environment import MissingSource
from moorings_core.agent.volumes import subpaths
from moorings_core.agent.volumes.atomic import File, read, write
from moorings_core.agent.volumes.manager import VolumeError, container_mounts
from moorings_core.agent.volumes.payload import config_map_data, secret_data, volume_files

from .builders import container, pod

DATA = {("ConfigMap", "m"): {"a": b"1", "b": b"2"}, ("Secret", "s"): {"p": b"x"}}


def files(volume):
    found = volume_files(volume, pod(), lambda kind, name: DATA.get((kind, name)), lambda source: f"token for {source['audience']}", {})
    return {name: (file.content, file.mode) for name, file in found.items()}


def test_all_entries_or_the_chosen_ones_with_their_modes():
    assert files({"configMap": {"name": "m"}}) == {"a": (b"1", 0o644), "b": (b"2", 0o644)}
    items = [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 0o400}]
    assert files({"configMap": {"name": "m", "defaultMode": 0o640, "items": items}}) == {"x/y": (b"1", 0o640), "z": (b"2", 0o400)}


def test_projected_sources_lie_side_by_side():
    sources = [
        {"configMap": {"name": "m", "items": [{"key": "a", "path": "map"}]}},
        {"secret": {"name": "s"}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    found = files({"projected": {"sources": sources, "defaultMode": 0o600}})
    assert {n: c for n, (c, _) in found.items()} == {"map": b"1", "p": b"x", "token": b"token for vault", "name": b"p"}
    assert {mode for _, mode in found.values()} == {0o600}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"name": "none"}, 'configmap "none" not found'),
        ({"name": "m", "items": [{"key": "none", "path": "x"}]}, "references non-existent configmap key: none"),
    ],
)
def test_what_is_missing_is_named_unless_optional(source, words):
    with pytest.raises(MissingSource) as caught:
        files({"configMap": source})
    assert str(caught.value) == words
    assert files({"configMap": {**source, "optional": True}}) == {}


def test_data_is_decoded():
    encoded = base64.b64encode(b"\x00\xff").decode()
    assert config_map_data({"data": {"t": "é"}, "binaryData": {"b": encoded}}) == {"t": "é".encode(), "b": b"\x00\xff"}
    assert secret_data({"data": {"b": encoded, "empty": None}}) == {"b": b"\x00\xff", "empty": b""}


names = st.sampled_from(["a", "b", "deep/a", "deep/b", "other/x"])
payloads = st.dictionaries(names, st.builds(File, st.binary(max_size=4), st.just(0o644)), max_size=5)


@given(st.lists(payloads, max_size=5))
def test_a_directory_shows_exactly_the_last_set(tmp_path_factory, sets):
    directory = tmp_path_factory.mktemp("volume")
    for payload in sets:
        write(directory, payload)
        assert read(directory / "..data") == {name: file.content for name, file in payload.items()}
        shown = {entry.name for entry in directory.iterdir() if not entry.name.startswith("..")}
        assert shown == {name.split("/")[0] for name in payload}
        assert len([entry for entry in directory.iterdir() if entry.name.startswith("..2")]) == 1


def test_the_same_set_again_changes_nothing(tmp_path):
    payload = {"a": File(b"1", 0o640)}
    assert write(tmp_path, payload) is True
    before = os.readlink(tmp_path / "..data")
    assert write(tmp_path, payload) is False
    assert os.readlink(tmp_path / "..data") == before
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_half_made_set_of_a_process_that_died_is_replaced(tmp_path):
    write(tmp_path, {"a": File(b"1", 0o644)})
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    assert write(tmp_path, {"a": File(b"2", 0o644)}) is True
    assert (tmp_path / "a").read_bytes() == b"2"


def mounts(tmp_path, **mount):
    return container_mounts(container(volumeMounts=[{"name": "v", "mountPath": "/m", **mount}]), {"v": str(tmp_path)}, {"A": "part"})[0]


def test_a_sub_path_is_made_and_may_hold_variables(tmp_path):
    [found] = mounts(tmp_path, subPathExpr="$(A)/inner", readOnly=True)
    assert (found.host, found.container, found.read_only) == (str(tmp_path / "part/inner"), "/m", True)
    assert (tmp_path / "part/inner").is_dir()


def test_a_sub_path_that_is_exchanged_for_a_link_while_it_is_looked_at_is_not_followed(tmp_path, monkeypatch):
    volume, real = tmp_path / "volume", os.path.realpath
    (volume / "sub").mkdir(parents=True)
    (tmp_path / "secret").touch()

    def resolved_then_exchanged(path):
        found = real(path)
        if os.fspath(path).endswith("/sub"):
            (volume / "sub").rmdir()
            (volume / "sub").symlink_to(tmp_path)
        return found

    monkeypatch.setattr(os.path, "realpath", resolved_then_exchanged)
    with pytest.raises(subpaths.SubPathError, match="became a link"), subpaths.opened(volume, "sub"):
        pass


@pytest.mark.parametrize("sub", ["../x", "a/../../x", "/etc", "link/etc"])
def test_a_sub_path_that_leads_out_is_refused(tmp_path, sub):
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(VolumeError, match='failed to prepare subPath for volumeMount "v" of container'):
        mounts(tmp_path, subPath=sub)


def test_a_sub_path_that_cannot_be_made_is_told_as_that(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VolumeError, match='failed to prepare subPath for volumeMount "v"'):
        mounts(tmp_path, subPath="file/below")
