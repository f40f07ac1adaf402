"""Hidden files of two drivers on one pool: what one uses the other does not tidy away."""

from pathlib import Path

import pytest

from moorings_csi.files import Files
from moorings_csi.scratch import scratch


def hidden(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if entry.name.startswith("."))


def test_what_another_driver_uses_stays(tmp_path: Path) -> None:
    with scratch(tmp_path, "probe") as used, scratch(tmp_path, "template") as also:
        Files(tmp_path).tidy()
        assert hidden(tmp_path) == sorted([used.name, also.name])
    assert hidden(tmp_path) == []


def test_what_a_killed_driver_left_goes_and_volumes_stay(tmp_path: Path) -> None:
    (tmp_path / ".probe-left").touch()
    (tmp_path / "pvc-1").touch()
    Files(tmp_path).tidy()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pvc-1"]


def test_a_file_goes_with_the_failure_of_its_user(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk"), scratch(tmp_path, "probe"):
        raise OSError("the disk")
    assert hidden(tmp_path) == []
