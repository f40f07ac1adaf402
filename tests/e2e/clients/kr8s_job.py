"""A job for kr8s, in a process of its own: it never closes its connections, and the tests take that for a failure."""

import asyncio
import sys

import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap, Namespace


async def main(kubeconfig: str) -> None:
    found = await kr8s.asyncio.api(kubeconfig=kubeconfig)
    namespace = await Namespace({"metadata": {"name": "kr8s"}}, api=found)
    await namespace.create()
    one = await ConfigMap({"metadata": {"name": "one", "namespace": "kr8s"}, "data": {"a": "1"}}, api=found)
    await one.create()
    await one.label(tier="front")
    await one.patch({"data": {"b": "2"}})
    assert [o.name async for o in found.get("configmaps", namespace="kr8s", label_selector={"tier": "front"})] == ["one"]
    await one.refresh()
    assert one.data == {"a": "1", "b": "2"}
    await one.delete()
    await one.wait("delete", timeout=20)
    assert (await found.version())["major"] == "1"
    print("done")


asyncio.run(main(sys.argv[1]))
