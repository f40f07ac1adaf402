"""A node's cgroups, on trees that look like v1 and v2 (the files are plain ones here; labs under test use the real ones)."""

import pytest

from moorings_labs import cgroups


def controller(root, name, **files):
    directory = root / name
    directory.mkdir()
    for file, content in files.items():
        (directory / file.replace("__", ".")).write_text(content)
    return directory


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return tmp_path


def test_on_v1_a_node_is_in_every_hierarchy_once(root):
    for name in ("memory", "cpu", "unified"):
        controller(root, name)
    (root / "cpu,cpuacct").symlink_to(root / "cpu")
    found = cgroups.make("moor-1111", "node-1")
    assert found == [root / name / "moor-1111" / "node-1" / "system" for name in ("cpu", "memory", "unified")]
    assert all(group.is_dir() for group in found)


def test_on_v2_what_is_counted_is_passed_down_and_no_process_is_in_the_way(root):
    (root / "cgroup.controllers").write_text("cpu memory")
    (root / "cgroup.subtree_control").write_text("memory")
    assert cgroups.make("moor-1111", "node-1") == [root / "moor-1111" / "node-1" / "system"]
    assert (root / "cgroup.subtree_control").read_text() == "+cpu"


def test_one_that_comes_first_has_more_time_than_others_where_time_is_shared(root):
    for name in ("memory", "cpu"):
        controller(root, name)
    group = root / "cpu" / "moor-1111" / "server"
    group.mkdir(parents=True)
    (group / "cpu.shares").write_text("1024")
    cgroups.make("moor-1111", "server", first=True)
    assert (group / "cpu.shares").read_text() == "20480"
    other = root / "cpu" / "moor-1111" / "node-1"
    other.mkdir(parents=True)
    (other / "cpu.shares").write_text("1024")
    cgroups.make("moor-1111", "node-1")
    assert (other / "cpu.shares").read_text() == "1024"


def test_removal_takes_the_lab_s_group_with_the_last_node(root):
    controller(root, "memory")
    cgroups.make("moor-1111", "node-1")
    cgroups.make("moor-1111", "node-2")
    (root / "memory" / "moor-1111" / "node-1" / "kubepods" / "burstable").mkdir(parents=True)
    cgroups.remove("moor-1111", "node-1")
    assert [p.name for p in (root / "memory" / "moor-1111").iterdir()] == ["node-2"]
    cgroups.remove("moor-1111", "node-2")
    assert list((root / "memory").iterdir()) == []


def test_a_command_enters_every_group_before_it_runs(root):
    words = cgroups.joined([root / "a", root / "b"], ["true", "x"])
    assert words[:2] == ["sh", "-c"]
    assert words[2] == f'echo $$ > {root}/a/cgroup.procs && echo $$ > {root}/b/cgroup.procs && exec "$@"'
    assert words[3:] == ["sh", "true", "x"]
