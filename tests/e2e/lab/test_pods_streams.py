"""logs, exec, attach, cp, port-forward, debug: bytes between a user's terminal and a container."""

import hashlib
import os
import pty
import re
import select
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
LINES = "for i in 1 2 3 4 5; do echo line $i; done; echo complaint >&2; exec sleep 3600"
TALK = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo tick $i; sleep 0.1; done; echo over"
ECHO = 'echo ready; while read word; do echo "got $word"; done; echo closed; sleep 3600'
SERVE = "mkdir /www; head -c 2000000 /dev/urandom > /www/big; httpd -p 8080 -h /www; exec sleep 3600"


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        made.apply(
            pod("talker", container(script=LINES), container("other", "echo from other; exec sleep 3600"), labels={"app": "talk"}),
            pod("follow", container(script=TALK), restartPolicy="Never"),
            pod("again", container(script="echo run $(cat /proc/sys/kernel/random/uuid); sleep 0.5; exit 1")),
            pod("listener", container(script=ECHO, stdin=True)),
            pod("terminal", container(script="stty -echo; " + ECHO, stdin=True, tty=True)),
            pod("server", container(script=SERVE)),
        )
        made.ready("talker", "follow", "listener", "terminal", "server")
        yield made


def test_logs_are_whole_or_the_part_that_was_asked_for(pods):
    lines = [f"line {i}" for i in range(1, 6)]
    whole = pods.lab.wait_for("all lines", lambda: (t := pods.logs("talker", "-c", "main").splitlines())[5:] and t)
    assert [t for t in whole if t != "complaint"] == lines
    assert "complaint" in whole
    assert pods.logs("talker", "-c", "main", "--tail=2").splitlines() == whole[-2:]
    assert pods.logs("talker", "-c", "main", "--tail=0") == ""
    assert pods.logs("talker", "-c", "main", "--limit-bytes=4") == whole[0][:4]
    assert pods.logs("talker", "-c", "main", "--since=1h").splitlines() == whole
    assert pods.logs("talker", "-c", "main", "--since-time=2100-01-01T00:00:00Z") == ""
    stamped = pods.logs("talker", "-c", "main", "--timestamps", "--tail=1")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", stamped)


def test_logs_of_several_containers_and_pods_are_told_apart(pods):
    assert pods.logs("talker", "-c", "other") == "from other\n"
    everything = pods.logs("talker", "--all-containers", "--prefix")
    assert "[pod/talker/other] from other" in everything
    assert "[pod/talker/main] line 1" in everything
    assert "from other" in pods.kubectl("logs", "-l", "app=talk", "--all-containers")
    wrong = pods.lab.kubectl("-n", pods.namespace, "logs", "talker", "-c", "none", check=False)
    assert wrong.returncode == 1
    assert "container none is not valid for pod talker" in wrong.stderr


def test_logs_are_followed_until_the_container_ends(pods):
    command = [*pods.lab.kubectl_command(), "-n", pods.namespace, "logs", "-f", "follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "tick 1\n"
        pods.sh("follow", "touch /tmp/stop", check=False)
        rest = following.stdout.read().splitlines()
        assert following.wait(20) == 0
    assert rest[-1] == "over"
    assert rest[:-1] == [f"tick {i}" for i in range(2, len(rest) + 1)]


def test_the_log_of_the_previous_run_is_kept(pods):
    pods.lab.wait_for("two restarts", lambda: pods.status("again").get("restartCount", 0) >= 2)
    pods.waiting("again", "CrashLoopBackOff")
    last, before = pods.logs("again"), pods.logs("again", "--previous")
    assert last.startswith("run ")
    assert before.startswith("run ")
    assert last != before


def test_exec_gives_output_errors_and_exit_code(pods):
    done = pods.lab.exec("talker", "sh", "-c", "echo out; echo err >&2; exit 42", namespace=pods.namespace, container="main", check=False)
    assert (done.stdout, done.returncode) == ("out\n", 42)
    assert done.stderr == "err\ncommand terminated with exit code 42\n"
    missing = pods.lab.exec("talker", "no-such-program", namespace=pods.namespace, container="main", check=False)
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr


def test_exec_passes_its_input_on_and_closes_it(pods):
    done = pods.lab.exec("talker", "sh", "-c", "cat; echo closed", namespace=pods.namespace, container="main", stdin="one\ntwo\n")
    assert done.stdout == "one\ntwo\nclosed\n"


@contextmanager
def terminal(pods, *words):
    """A kubectl on a terminal of its own; yields what sends text and waits for an answer."""
    leader, follower = pty.openpty()
    command = [*pods.lab.kubectl_command(), "-n", pods.namespace, *words]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    seen = bytearray()

    def talk(text, expected):
        if text:
            os.write(leader, text)
        end = time.monotonic() + 15
        while expected not in seen and time.monotonic() < end:
            if select.select([leader], [], [], 0.1)[0]:
                seen.extend(os.read(leader, 4096))
        assert expected in seen, bytes(seen)

    try:
        yield talk, process
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_exec_with_a_terminal_has_one_and_its_size(pods):
    with terminal(pods, "exec", "-it", "talker", "-c", "main", "--", "sh") as (talk, process):
        talk(b"tty; echo a$((40+2))b\n", b"a42b")
        talk(b"", b"/dev/pts/")
        talk(b"exit 7\n", b"exit code 7")
        assert process.wait(10) == 7


def test_attach_joins_the_main_process(pods):
    command = [*pods.lab.kubectl_command(), "-n", pods.namespace, "attach", "-i", "listener"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write("hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "got hello\n"
        attached.kill()
    with terminal(pods, "attach", "-it", "terminal") as (talk, _):
        talk(b"there\n", b"got there")
    assert "got hello" in pods.logs("listener")
    assert "running" in pods.status("listener")["state"]


def test_a_file_is_copied_both_ways_unchanged(pods, tmp_path):
    source, back = tmp_path / "big", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    pods.kubectl("cp", str(source), "server:/tmp/big")
    assert pods.sh("server", "sha256sum /tmp/big").split()[0] == hashlib.sha256(source.read_bytes()).hexdigest()
    pods.kubectl("cp", "server:/tmp/big", str(back))
    assert back.read_bytes() == source.read_bytes()


def test_a_forwarded_port_carries_many_requests_at_once(pods):
    command = [*pods.lab.kubectl_command(), "-n", pods.namespace, "port-forward", "pod/server", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = int(re.search(r":(\d+) ->", forwarding.stdout.readline())[1])
        held = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(5)]
        digests = {hashlib.sha256(fetch(port)).hexdigest() for _ in range(3)}
        for connection in held:
            connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        answers = [connection.recv(12) for connection in held]
        for connection in held:
            connection.close()
        forwarding.terminate()
    assert {answer[-4:] for answer in answers} == {b" 200"}
    assert digests == {pods.sh("server", "sha256sum /www/big").split()[0]}


def fetch(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/big", timeout=20) as answer:
        return answer.read()


def test_debug_adds_an_ephemeral_container_that_sees_its_targets_processes(pods):
    words = ("debug", "server", "--image=moorings.dev/busybox:1", "-c", "helper", "--target=main", "--profile=general", "--")
    pods.kubectl(*words, "sh", "-c", "ps; wget -qO /dev/null http://127.0.0.1:8080/big && echo reached")
    pods.lab.wait_for("its end", lambda: "terminated" in pods.status("server", "helper").get("state", {}))
    text = pods.logs("server", "-c", "helper")
    assert "httpd" in text
    assert "reached" in text
    assert pods.get("server")["status"]["phase"] == "Running"
