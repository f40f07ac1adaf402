"""What a connection to a pod, a service or a node asks for, as the object that admission sees. Source: k8s.io/api core/v1 *Options."""

from __future__ import annotations

from urllib.parse import parse_qsl

from moorings_core.ports.objects import Object, Resource

from .http.message import Request

FLAGS = ("stdin", "stdout", "stderr", "tty")
KINDS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}


def connect_options(resource: Resource, subresource: str, request: Request, rest: str) -> tuple[str, Object]:
    """Return (kind, fields) of the options of a connection."""
    if subresource == "proxy":
        return f"{resource.kind}ProxyOptions", {"path": f"/{rest}"} if rest else {}
    found: Object = {}
    given = parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
    if subresource == "portforward":
        ports = [int(port) for name, text in given if name == "ports" for port in text.split(",") if port.isdigit()]
        return KINDS[subresource], {"ports": ports} if ports else {}
    for flag in FLAGS:
        if request.query.get(flag, "").lower() in ("true", "1"):
            found[flag] = True
    if container := request.query.get("container"):
        found["container"] = container
    if command := [text for name, text in given if name == "command"]:
        found["command"] = command
    return KINDS[subresource], found
