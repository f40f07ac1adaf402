"""Container logs as clients ask for parts of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.last_words import read_last_words
from moorings_core.agent.streams.logs import LogOptions, read
from moorings_core.ports.errors import BadRequest

from .builders import container, observed, pod, run


def line(second, text, tag="F"):
    return f"2026-01-01T00:00:{second:02d}.5Z stdout {tag} {text}\n"


async def ended():
    return False


async def shown(path, running=ended, **options):
    return b"".join([piece async for piece in read(path, LogOptions(**options), running)]).decode()


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "0.log"
    file.write_text(line(1, "one") + line(2, "half ", "P") + line(3, "whole") + line(4, "last"))
    return file


async def test_lines_that_were_cut_are_joined(log):
    assert await shown(log) == "one\nhalf whole\nlast\n"


@pytest.mark.parametrize(("tail", "expected"), [(0, ""), (1, "last\n"), (2, "half whole\nlast\n"), (9, "one\nhalf whole\nlast\n")])
async def test_a_tail_counts_whole_lines(log, tail, expected):
    assert await shown(log, tail=tail) == expected


async def test_old_lines_are_left_out_and_times_shown(log):
    since = LogOptions.of({"sinceTime": "2026-01-01T00:00:03.9Z", "timestamps": "true"}, 0)
    assert await shown(log, since=since.since, timestamps=since.timestamps) == "2026-01-01T00:00:04.5Z last\n"


async def test_a_limit_cuts_in_the_middle_of_a_line(log):
    assert await shown(log, limit=6) == "one\nha"


async def test_a_log_is_followed_until_its_container_has_ended(log):
    looks = []

    async def running():
        looks.append(1)
        if len(looks) == 2:
            with log.open("a") as file:
                file.write(line(5, "more"))
        return len(looks) < 4

    assert (await shown(log, running, follow=True, tail=1)) == "last\nmore\n"


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "yesterday"}, {"sinceSeconds": "1.5"}])
def test_options_that_make_no_sense_are_refused(query):
    with pytest.raises(BadRequest):
        LogOptions.of(query, 0)


@given(st.lists(st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=8), max_size=8), st.integers(0, 10))
async def test_every_line_is_shown_as_it_is_and_a_tail_is_the_end_of_that(tmp_path_factory, texts, tail):
    file = tmp_path_factory.mktemp("log") / "0.log"
    file.write_bytes("".join(line(1, text) for text in texts).encode())
    whole = (await shown(file)).split("\n")[:-1]
    assert whole == texts
    assert (await shown(file, tail=tail)).split("\n")[:-1] == whole[len(whole) - min(tail, len(whole)) :]


class TestLastWords:
    async def words(self, tmp_path, code=1, policy="File", message=None, log="logged"):
        files, logs, messages = tmp_path / "files", tmp_path / "logs", {}
        for directory in (files / "main", logs / "main"):
            directory.mkdir(parents=True)
        (logs / "main" / "0.log").write_text(line(1, log))
        if message is not None:
            (files / "main" / "0").write_text(message)
        await read_last_words(
            pod(container(terminationMessagePolicy=policy)), observed(run(state="exited", code=code)), files, logs, messages
        )
        return messages["main-0"]

    async def test_they_are_the_end_of_the_file(self, tmp_path):
        assert await self.words(tmp_path, message="x" * 5000 + "end") == "x" * 4093 + "end"

    @pytest.mark.parametrize(
        ("code", "policy", "message", "expected"),
        [
            (1, "FallbackToLogsOnError", None, "logged\n"),
            (1, "FallbackToLogsOnError", "file", "file"),
            (0, "FallbackToLogsOnError", None, ""),
            (1, "File", None, ""),
        ],
    )
    async def test_the_log_is_taken_only_where_wanted_and_nothing_was_left(self, tmp_path, code, policy, message, expected):
        assert await self.words(tmp_path, code, policy, message) == expected
