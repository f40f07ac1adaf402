"""The quick way to a line says exactly what the general way says."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.access.attributes import Attributes, Decision
from moorings_core.api.audit.events import event, line
from moorings_core.api.audit.policy import METADATA, Wanted
from moorings_core.api.audit.trail import Entry, Trail
from moorings_core.api.context import User
from moorings_core.api.http.message import Request
from moorings_core.api.paths import Target

words = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["", "pods", 'a"b', "\\", "\n", "ä", "default"])
users = st.builds(User, words, st.lists(words, max_size=3).map(tuple), words)
targets = st.none() | st.builds(Target, words, words, words, words, words, words)


@given(
    user=users,
    target=targets,
    decision=st.builds(Decision, st.booleans(), words),
    status=st.integers(100, 599),
    stage=st.sampled_from(["ResponseComplete", "ResponseStarted", "RequestReceived"]),
    agent=words,
    url=words,
    made=words,
    at=st.floats(0, 4e9),
    body=st.sampled_from([b"", b'{"kind":"Status","code":404,"reason":"NotFound"}']),
)
def test_both_ways_say_the_same(user, target, decision, status, stage, agent, url, made, at, body):
    request = Request("GET", url, {"user-agent": agent} if agent else {}, b"", {}, remote="192.0.2.1")
    place = (target.group, target.plural, target.subresource, target.namespace, target.name) if target else ()
    asked = Attributes(user, "get", *place)
    trail = Trail(lambda _: None, Wanted(METADATA, frozenset(), False), request, asked, target, "an-id", at, None, decision, made)
    entry = Entry(trail, stage, at + 0.25, status, body)
    assert orjson.loads(line(entry)) == orjson.loads(orjson.dumps(event(entry)))
    assert line(entry).endswith(b"}\n")
    assert line(entry).count(b"\n") == 1
