"""What every container runtime must do (moorings_core.ports.runtime.Runtime), on a real one."""

import asyncio
import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from moorings_core.config.backends import installed, load
from moorings_core.ports.runtime import POD_UID, ContainerSpec, MountSpec, Namespaces, RuntimeFailure, SandboxSpec, Security
from moorings_labs.images import DEMO

from .runtime_process import RuntimeProcess

pytestmark = [pytest.mark.node, pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")]
BACKENDS = ["cri"]
numbers = itertools.count()


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    process = RuntimeProcess(tmp_path_factory.mktemp("rt"))
    process.start()
    yield process
    process.close()


@pytest.fixture(params=BACKENDS)
async def runtime(request, process):
    runtime = load("runtime", request.param)(process.socket, {})
    yield runtime
    for sandbox in await runtime.sandboxes():
        await runtime.stop_sandbox(sandbox.id)
        await runtime.remove_sandbox(sandbox.id)
    await runtime.close()


@pytest.fixture
def shell(process) -> SandboxSpec:
    """A sandbox on the node's network: a pod network is another port's business."""
    uid = f"uid-{next(numbers)}"
    directory = process.logs / uid
    directory.mkdir()
    return SandboxSpec(
        name="pod", namespace="default", uid=uid, attempt=0, hostname="", log_directory=str(directory),
        dns=(("192.0.2.53",), ("example.org",), ("ndots:1",)), labels={POD_UID: uid}, annotations={"note": "kept"},
        cgroup_parent=f"/{process.name}/node/pods", namespaces=Namespaces(network="node"),
    )  # fmt: skip


def container(shell: SandboxSpec, *command: str, **more) -> ContainerSpec:
    spec = ContainerSpec(
        name="main", attempt=0, image=DEMO, command=command, args=(), working_dir="", environment=(), mounts=(),
        labels=shell.labels, annotations={"hash": "1"}, log_path="main.log", namespaces=shell.namespaces,
    )  # fmt: skip
    return replace(spec, **more)


async def started(runtime, shell: SandboxSpec, spec: ContainerSpec) -> str:
    sandbox = await runtime.run_sandbox(shell)
    made = await runtime.create_container(sandbox, spec, shell)
    await runtime.start_container(made)
    return made


async def ended(runtime, made: str):
    """Return the detail of a container that has ended; the test's own timeout bounds it."""
    while (detail := await runtime.inspect(made)).state != "exited":
        await asyncio.sleep(0.02)
    return detail


async def says(runtime, made: str, word: str) -> None:
    """Wait until a container has said a word; the test's own timeout bounds it."""
    path = Path((await runtime.inspect(made)).log_path)
    while not path.exists() or word not in path.read_text():
        await asyncio.sleep(0.02)


def test_every_installed_runtime_is_under_contract():
    assert set(installed("runtime")) == set(BACKENDS)


async def test_it_says_what_it_is_and_that_it_works(runtime):
    name, version = await runtime.version()
    assert name and version[0].isdigit() | version.startswith("v")
    assert (await runtime.conditions()).ready


async def test_a_sandbox_is_there_until_it_is_removed_and_every_end_can_be_said_twice(runtime, shell):
    made = await runtime.run_sandbox(shell)
    (seen,) = await runtime.sandboxes(shell.uid)
    assert (seen.id, seen.name, seen.namespace, seen.uid, seen.attempt, seen.ready) == (made, "pod", "default", shell.uid, 0, True)
    assert seen.labels == shell.labels
    for _ in range(2):
        await runtime.stop_sandbox(made)
    (seen,) = await runtime.sandboxes(shell.uid)
    assert not seen.ready
    for _ in range(2):
        await runtime.remove_sandbox(made)
    assert await runtime.sandboxes(shell.uid) == []
    await runtime.stop_sandbox(made)


async def test_a_container_goes_from_created_to_running_to_exited_and_its_end_is_told(runtime, shell):
    sandbox = await runtime.run_sandbox(shell)
    spec = container(shell, "sh", "-c", "echo out; echo err >&2; read -r wait < /gate/pipe; exit 3")
    gate = os.path.join(shell.log_directory, "gate")
    os.mkdir(gate)
    os.mkfifo(f"{gate}/pipe")
    made = await runtime.create_container(sandbox, replace(spec, mounts=(MountSpec(gate, "/gate"),)), shell)
    (seen,) = await runtime.containers(shell.uid)
    assert (seen.id, seen.sandbox, seen.name, seen.state, seen.labels) == (made, sandbox, "main", "created", shell.labels)
    await runtime.start_container(made)
    (seen,) = await runtime.containers(shell.uid)
    assert seen.state == "running"
    await asyncio.to_thread(lambda: open(f"{gate}/pipe", "w").close())
    detail = await ended(runtime, made)
    assert (detail.exit_code, detail.annotations["hash"]) == (3, "1")
    assert 0 < detail.started <= detail.finished
    lines = [line.split(" ", 3) for line in Path(detail.log_path).read_text().splitlines()]
    assert {(stream, text) for _, stream, _, text in lines} == {("stdout", "out"), ("stderr", "err")}
    for _ in range(2):
        await runtime.remove_container(made)
    assert await runtime.containers(shell.uid) == []


async def test_a_process_gets_what_its_container_says(runtime, shell):
    source = os.path.join(shell.log_directory, "data")
    os.mkdir(source)
    made = await started(runtime, shell, container(
        shell, "sleep", "1000", working_dir="/tmp", environment=(("WORD", "a b"),),
        mounts=(MountSpec(source, "/ro", read_only=True), MountSpec(source, "/rw")),
        security=Security(user=1000, group=2000, no_new_privileges=True, drop_capabilities=("ALL",)),
    ))  # fmt: skip
    os.chmod(source, 0o777)
    result = await runtime.exec(made, ["sh", "-c", 'pwd; echo "$WORD"; id -u; id -g; touch /rw/file; touch /ro/file'], 10)
    assert result.stdout.decode().splitlines() == ["/tmp", "a b", "1000", "2000"]
    assert result.code == 1 and b"Read-only" in result.stderr
    assert os.listdir(source) == ["file"]
    assert b"192.0.2.53" in (await runtime.exec(made, ["cat", "/etc/resolv.conf"], 10)).stdout


async def test_a_command_that_takes_too_long_is_a_timeout_and_one_that_fails_is_not(runtime, shell):
    made = await started(runtime, shell, container(shell, "sleep", "1000"))
    assert (await runtime.exec(made, ["sh", "-c", "exit 7"], 10)).code == 7
    with pytest.raises(TimeoutError):
        await runtime.exec(made, ["sleep", "100"], 1)


async def test_stopping_asks_first_and_kills_who_does_not_listen(runtime, shell):
    listens = container(shell, "sh", "-c", "trap 'exit 5' TERM; echo listening; while :; do sleep 0.05; done")
    made = await started(runtime, shell, listens)
    await says(runtime, made, "listening")
    await runtime.stop_container(made, 10)
    assert (await ended(runtime, made)).exit_code == 5
    sandbox = (await runtime.sandboxes(shell.uid))[0].id
    deaf = container(shell, "sh", "-c", "trap '' TERM; while :; do sleep 1; done", name="deaf", log_path="deaf.log")
    made = await runtime.create_container(sandbox, deaf, shell)
    await runtime.start_container(made)
    await runtime.stop_container(made, 1)
    assert (await ended(runtime, made)).exit_code == 137
    await runtime.stop_container(made, 1)


async def test_containers_of_a_stopped_sandbox_end_and_go_with_it(runtime, shell):
    made = await started(runtime, shell, container(shell, "sleep", "1000"))
    sandbox = (await runtime.sandboxes(shell.uid))[0].id
    await runtime.stop_sandbox(sandbox)
    assert (await ended(runtime, made)).exit_code == 137
    await runtime.remove_sandbox(sandbox)
    assert await runtime.containers(shell.uid) == []


async def test_images_are_known_by_name_and_what_cannot_be_fetched_is_refused_in_the_runtimes_words(runtime):
    assert await runtime.image("moorings.dev/none:1") is None
    found = await runtime.image(DEMO)
    assert found is not None and found.id
    with pytest.raises(RuntimeFailure, match=r"127\.0\.0\.1:1"):
        await runtime.pull("127.0.0.1:1/none:1")


async def test_what_is_not_there_is_told_with_a_code(runtime):
    with pytest.raises(RuntimeFailure) as failure:
        await runtime.start_container("0" * 64)
    assert failure.value.code == "NOT_FOUND"


async def test_streams_have_urls(runtime, shell):
    made = await started(runtime, shell, container(shell, "sleep", "1000"))
    sandbox = (await runtime.sandboxes(shell.uid))[0].id
    for url in (
        await runtime.exec_url(made, ["true"], stdin=False, stdout=True, stderr=True, tty=False),
        await runtime.attach_url(made, stdin=False, stdout=True, stderr=True, tty=False),
        await runtime.port_forward_url(sandbox, [80]),
    ):
        assert url.startswith("http://127.0.0.1:")


async def test_containers_outlive_a_runtime_that_is_killed(runtime, process, shell):
    made = await started(runtime, shell, container(shell, "sleep", "1000"))
    before = await runtime.inspect(made)
    process.kill_runtime()
    while True:
        try:
            after = await runtime.inspect(made)
            break
        except RuntimeFailure:
            await asyncio.sleep(0.05)
    assert (after.state, after.started) == ("running", before.started)
    assert (await runtime.exec(made, ["echo", "here"], 10)).stdout == b"here\n"
