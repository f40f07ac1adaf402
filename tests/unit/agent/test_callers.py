"""Who may call the agent, as the API server says."""

import types

import pytest

from moorings_core.agent.callers import Callers
from moorings_core.ports.errors import Forbidden, Unauthorized


class Reviews:
    """An API server that knows one token and what its user may do; it counts what it is asked."""

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.asked = allowed, []

    async def create(self, resource, body):
        self.asked.append(body["spec"])
        if resource.plural == "tokenreviews":
            known = body["spec"]["token"] == "good"
            return {"status": {"authenticated": known, "user": {"username": "scraper", "groups": ["g"], "extra": {"k": ["v"]}}}}
        return {"status": {"allowed": body["spec"]["resourceAttributes"]["subresource"] in self.allowed}}


def request(path="/metrics", token="", method="GET", **peer):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return types.SimpleNamespace(path=path, method=method, headers=headers, peer=peer)


async def test_the_api_server_may_do_everything_and_nobody_is_asked():
    api = Reviews()
    await Callers(api, "n").admit(request("/exec/a/b/c", organizationName=("system:masters",), commonName=("api",)))
    assert not api.asked


@pytest.mark.parametrize("given", [request(), request(token="bad")])
async def test_who_is_not_known_is_told_so(given):
    with pytest.raises(Unauthorized):
        await Callers(Reviews("metrics"), "n").admit(given)


@pytest.mark.parametrize(
    ("path", "right", "enough"),
    [
        ("/metrics/resource", "metrics", True),
        ("/stats/summary", "stats", True),
        ("/stats/summary", "metrics", False),
        ("/pods", "pods", True),
        ("/pods", "proxy", True),
        ("/exec/a/b/c", "metrics", False),
        ("/exec/a/b/c", "proxy", True),
    ],
)
async def test_each_path_needs_its_right(path, right, enough):
    callers = Callers(Reviews(right), "n")
    if enough:
        await callers.admit(request(path, token="good"))
        return
    with pytest.raises(Forbidden, match="user=scraper, verb=get, resource=nodes"):
        await callers.admit(request(path, token="good"))


async def test_the_review_names_the_node_the_verb_and_all_that_is_known_of_the_user():
    api = Reviews("proxy")
    await Callers(api, "n").admit(request("/run/a", token="good", method="POST"))
    spec = api.asked[-1]
    assert spec["resourceAttributes"] == {"verb": "create", "version": "v1", "resource": "nodes", "subresource": "proxy", "name": "n"}
    assert (spec["user"], spec["groups"], spec["extra"]) == ("scraper", ["g"], {"k": ["v"]})


async def test_what_was_allowed_is_not_asked_again_at_once_and_what_was_not_is():
    api = Reviews("metrics")
    callers = Callers(api, "n")
    for _ in range(3):
        await callers.admit(request(token="good"))
    assert len(api.asked) == 2
    for _ in range(2):
        with pytest.raises(Forbidden):
            await callers.admit(request("/stats/summary", token="good"))
    assert len(api.asked) == 4


async def test_a_client_certificate_is_a_user_too():
    api = Reviews("metrics")
    await Callers(api, "n").admit(request(commonName=("prometheus",), organizationName=("monitoring",)))
    assert (api.asked[0]["user"], api.asked[0]["groups"]) == ("prometheus", ["monitoring", "system:authenticated"])
