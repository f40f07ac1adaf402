"""The executable that the runtime calls: forwards one CNI call to the node's server. `install` writes it with a shebang.

Where there is a Perl `client.pl` is installed, which does the same and starts sooner: what is changed here is changed there.

It runs with -I -S and imports nothing but built-in modules, because its start is most of what an ADD costs: no JSON, no os.
@SOCKET@ and @SPOOL@ are filled in by the installer. Wire: the CNI_ variables joined by NUL, two NUL, stdin, end of file;
back: the exit code as one digit, then stdout. A DEL that finds no server is left in the spool, durably, and counts as done:
the server does it before it serves.
"""

import posix

SOCKET = b"@SOCKET@"
SPOOL = b"@SPOOL@"
AWAY = b'{"cniVersion":"1.0.0","code":11,"msg":"the network server of this node is not running: try again"}\n'


def read_all(fd: int) -> bytes:
    """Return everything up to the end of a file."""
    parts = []
    while part := posix.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write everything."""
    while data:
        data = data[posix.write(fd, data) :]


def ask(request: bytes) -> bytes:
    """Return the server's answer; b"" when there is none."""
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.settimeout(110)
    try:
        sock.connect(SOCKET)
        sock.sendall(request)
        sock.shutdown(_socket.SHUT_WR)
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""


def spool(request: bytes) -> bool:
    """Keep a DEL for later; return whether it is on disk."""
    environ = posix.environ
    name = environ.get(b"CNI_CONTAINERID", b"").replace(b"/", b"_") + b"." + environ.get(b"CNI_IFNAME", b"").replace(b"/", b"_")
    try:
        fd = posix.open(SPOOL + b"/." + name, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
        write_all(fd, request)
        posix.fsync(fd)
        posix.close(fd)
        posix.rename(SPOOL + b"/." + name, SPOOL + b"/" + name)
        fd = posix.open(SPOOL, posix.O_RDONLY | posix.O_CLOEXEC)
        posix.fsync(fd)
        return True
    except OSError:
        return False


def main() -> None:
    """Do one call and end the process."""
    variables = [name + b"=" + value for name, value in posix.environ.items() if name.startswith(b"CNI_")]
    request = b"\0".join(variables) + b"\0\0" + read_all(0)
    answer = ask(request)
    if answer:
        write_all(1, answer[1:])
        posix._exit(answer[0] - 48)
    if posix.environ.get(b"CNI_COMMAND") == b"DEL" and spool(request):
        posix._exit(0)
    write_all(1, AWAY)
    posix._exit(1)


if __name__ == "__main__":
    main()
