"""What has changed between two looks at a runtime. The runtime here is a list of what it has: its answers are what is decided on."""

import pytest

from moorings_core.agent.observer import Observer
from moorings_core.ports.runtime import POD_UID, ContainerDetail, ContainerState, SandboxState


class Listed:
    """A runtime that has what the test puts into it, and counts close looks."""

    def __init__(self):
        self.held: dict[str, SandboxState | ContainerState] = {}
        self.looks = []

    def put(self, uid, name, ready=True, state="running", attempt=0):
        sandbox = f"{uid}-sandbox"
        self.held[sandbox] = SandboxState(sandbox, uid, "n", uid, 0, ready, 0, {POD_UID: uid} if uid else {})
        identity = f"{uid}-{name}-{attempt}"
        self.held[identity] = ContainerState(identity, sandbox, name, attempt, state, 0, {POD_UID: uid} if uid else {})

    async def sandboxes(self, uid=None):
        return self.of(SandboxState, uid)

    async def containers(self, uid=None):
        return self.of(ContainerState, uid)

    def of(self, kind, uid):
        return [one for one in self.held.values() if isinstance(one, kind) and uid in (None, one.labels.get(POD_UID))]

    async def inspect(self, container):
        self.looks.append(container)
        return ContainerDetail(self.held[container].state, 0, 0, 0, "", "", "", "", "", {})

    async def sandbox_addresses(self, sandbox):
        self.looks.append(sandbox)
        return ("10.0.0.1",)


@pytest.fixture
def runtime():
    return Listed()


async def test_a_pod_is_told_when_it_appears_changes_and_goes(runtime):
    observer = Observer(runtime)
    runtime.put("a", "main")
    runtime.put("b", "main")
    assert await observer.relist() == {"a", "b"}
    assert await observer.relist() == set()
    runtime.put("a", "main", state="exited")
    assert await observer.relist() == {"a"}
    runtime.put("b", "main", ready=False)
    assert await observer.relist() == {"b"}
    runtime.held = {k: v for k, v in runtime.held.items() if not k.startswith("a")}
    assert await observer.relist() == {"a"}
    assert observer.uids == {"b"}


async def test_what_was_seen_closely_is_no_change_at_the_next_list(runtime):
    observer = Observer(runtime)
    runtime.put("a", "main")
    await observer.observe("a")
    assert await observer.relist() == set()


async def test_runs_are_newest_first_and_only_the_pods_own(runtime):
    observer = Observer(runtime)
    runtime.put("b", "main")
    for attempt in (0, 2, 1):
        runtime.put("a", "main", state="exited", attempt=attempt)
    found = await observer.observe("a")
    assert [run.state.attempt for run in found.runs["main"]] == [2, 1, 0]
    assert found.addresses == ("10.0.0.1",)


async def test_what_has_ended_is_looked_at_once_and_what_runs_each_time(runtime):
    observer = Observer(runtime)
    runtime.put("a", "main", state="exited", attempt=0)
    runtime.put("a", "main", attempt=1)
    for _ in range(3):
        await observer.observe("a")
    assert runtime.looks.count("a-main-0") == 1
    assert runtime.looks.count("a-main-1") == 3
    assert runtime.looks.count("a-sandbox") == 1


async def test_what_is_no_pods_is_left_alone(runtime):
    """Somebody's sandbox without a pod's label, made by hand, must never be taken for a pod that is gone."""
    observer = Observer(runtime)
    runtime.put("", "by-hand")
    runtime.put("a", "main")
    assert await observer.relist() == {"a"}
    assert observer.uids == {"a"}
