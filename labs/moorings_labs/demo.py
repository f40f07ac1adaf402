"""`make demo`: the main job, shown by real requests. Every claim on the screen is checked; one that does not hold ends the demo.

It leaves the lab up for its user to try; run again, it does everything again on the lab that is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from moorings_core.ports.errors import MooringsError

from .cluster import Cluster
from .progress import say, step

LABS = Path(__file__).parent.parent
NAME = os.environ.get("MOORINGS_LAB_NAME", "demo")
REQUESTS = """
all=0 failed=0
while [ ! -e /tmp/stop ]; do
  timeout 5 wget -qO /dev/null http://hello/name || failed=$((failed+1))
  all=$((all+1))
done
rm /tmp/stop; echo $all $failed
"""


class NotShown(MooringsError):
    """The cluster does not do what the demo says it does."""


def main() -> None:
    """Run the demo; exit code 1 where something does not hold."""
    try:
        demo(Cluster(NAME))
    except MooringsError as error:
        say(f"\n{error}\nNext: moorings logs node-1 --name {NAME}")
        sys.exit(1)


def demo(lab: Cluster) -> None:
    """Make the lab and show what it does."""
    command = [sys.executable, "-m", "moorings_core.cli", "up", "-f", str(LABS / "topologies" / "demo.yaml"), "--name", NAME]
    if subprocess.run(command, check=False).returncode != 0:
        raise NotShown("the lab did not come up")
    with step("kubectl apply -f labs/examples/hello/, and wait"):
        lab.kubectl("apply", "-f", str(LABS / "examples" / "hello"))
        lab.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        lab.wait_ready("writer")
    _pods(lab)
    _requests(lab)
    _job(lab)
    _volume(lab)
    _rolling_update(lab)
    say("\nThe lab is yours. Try:")
    say(f"  export PATH={Path(sys.executable).parent}:$PATH KUBECONFIG={lab.kubeconfig}")
    say(f"  kubectl get pods -o wide\n  moorings status --name {NAME}\n  moorings swap network routed --name {NAME}")
    say(f"and when you are done:\n  moorings down {NAME}")


def _pods(lab: Cluster) -> None:
    with step("pods run on all three nodes"):
        pods = _hello(lab)
        _claim(len(set(pods.values())) == 3, f"the pods are on {set(pods.values())}")
    for address, node in pods.items():
        say(f"  {node}  {address}")


def _requests(lab: Cluster) -> None:
    """Ask every pod, the Service and its name, from a pod."""
    own = lab.get("pod", "writer")["spec"]["nodeName"]
    address = next(a for a, node in _hello(lab).items() if node != own)
    virtual = lab.get("service", "hello")["spec"]["clusterIP"]
    hosts = {f"a pod on another node: {address}": f"{address}:8080", f"the Service: {virtual}": virtual, "its name: hello": "hello"}
    for what, host in hosts.items():
        with step(f"a pod asks {what}"):
            answer = lab.exec("writer", "wget", "-qO-", f"http://{host}/").stdout
            _claim(answer == "hello from moorings", f"{host} answers {answer!r}")
    say(f"  {answer!r}, from a ConfigMap; a Secret was read: {lab.exec('writer', 'wget', '-qO-', 'http://hello/secret').stdout.strip()}")


def _job(lab: Cluster) -> None:
    with step("a Job ran to its end, twice at once"):
        lab.kubectl("wait", "--for=condition=Complete", "job/count", "--timeout=60s")
        words = lab.kubectl("logs", "job/count").stdout
        _claim(words.endswith("one two three\n"), f"its log says {words!r}")


def _volume(lab: Cluster) -> None:
    """Delete the pod that writes into the volume and make it again: what it wrote before is there."""
    before = lab.exec("writer", "cat", "/data/diary").stdout.splitlines()
    with step("a pod with a volume is deleted and made again"):
        lab.kubectl("delete", "pod", "writer", "--wait=true")
        lab.kubectl("apply", "-f", str(LABS / "examples" / "hello"))
        lab.wait_ready("writer")
        after = lab.exec("writer", "cat", "/data/diary").stdout.splitlines()
        _claim(after[:-1] == before, f"the volume holds {after}, before {before}")
    for line in after[-2:]:
        say(f"  the volume holds: {line}")


def _rolling_update(lab: Cluster) -> None:
    """Replace all pods while another pod asks the Service without a pause."""
    with step("a rolling update under requests"):
        client = subprocess.Popen(
            [*lab.kubectl_command(), "exec", "writer", "--", "sh", "-c", REQUESTS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            old = _hello(lab)
            lab.kubectl("rollout", "restart", "deployment/hello")
            lab.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
            lab.exec("writer", "touch", "/tmp/stop")
            output, errors = client.communicate(timeout=30)
        finally:
            client.kill()
        _claim(not set(old) & set(_hello(lab)), "pods of before are still there")
        _claim(client.returncode == 0, errors)
        requests, failed = map(int, output.split())
        _claim(failed == 0, f"{failed} of {requests} requests failed")
    say(f"  {requests} requests, none failed")


def _hello(lab: Cluster) -> dict[str, str]:
    """Return the node of each Ready pod of the example, by the pod's address."""
    pods = lab.get("pods", "-l", "app=hello")["items"]
    live = [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"].get("podIP")]
    return {p["status"]["podIP"]: p["spec"]["nodeName"] for p in live}


def _claim(holds: bool, otherwise: str) -> None:
    if not holds:
        raise NotShown(otherwise)


if __name__ == "__main__":
    main()
