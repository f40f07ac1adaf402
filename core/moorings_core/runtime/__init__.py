"""Container runtimes behind `ports.runtime`: `cri` (containerd, CRI-O) over gRPC on a unix socket.

An entry point of `moorings.runtime` names a function connect(socket, parameters) -> Runtime. Specs come in; sandboxes run.
"""
