"""Logs, exec, attach and port-forward: what clients stream from containers.

`websocket` and `spdy` are sans-I/O framings; `remote` joins a client's WebSocket (v5.channel.k8s.io) with the runtime's SPDY/3.1
server; `pipe` passes bytes where both ends speak the same; `logs` reads the runtime's log files.
"""
