"""The driver on its unix socket: services become gRPC handlers and errors status codes; calls are logged without secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.message import Message

from moorings_core.log import get_logger
from moorings_core.protos.services import Method

from . import errors

log = get_logger(__name__)
CODES: Mapping[type[errors.StorageError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NoSuchVolume: grpc.StatusCode.NOT_FOUND,
    errors.NameTaken: grpc.StatusCode.ALREADY_EXISTS,
    errors.SizeOutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.PoolFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Busy: grpc.StatusCode.ABORTED,
    errors.StaleToken: grpc.StatusCode.ABORTED,
    errors.NoSuchSnapshot: grpc.StatusCode.NOT_FOUND,
    errors.AttachLimit: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
STOP_GRACE = 5
SOCKET_PATH_MOST = 107
Service = tuple[tuple[str, Mapping[str, Method]], object]
"""((full service name, methods), the object that has a coroutine method per name)"""


async def serve(socket: Path, services: list[Service]) -> grpc.aio.Server:
    """Start serving on a unix socket (0600, in a directory only its owner can enter) and return the running server. Raises StorageError."""
    if len(os.fsencode(socket)) > SOCKET_PATH_MOST:
        raise errors.StorageError(f"{socket} is longer than the {SOCKET_PATH_MOST} bytes that the path of a unix socket may have")
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    server = grpc.aio.server()
    for (name, methods), implementation in services:
        handlers = {method: _handler(method, types, implementation) for method, types in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_insecure_port(f"unix://{socket}")
    await server.start()
    os.chmod(socket, 0o600)
    return server


def _handler(name: str, types: Method, implementation: object) -> grpc.RpcMethodHandler:
    call: Callable[[Message], Awaitable[Message]] = getattr(implementation, name)

    async def handle(request: Message, context: grpc.aio.ServicerContext) -> Message:
        started = time.monotonic()
        try:
            answer = await call(request)
        except errors.StorageError as error:
            log.info("call refused", method=name, error=str(error))
            await context.abort(CODES.get(type(error), grpc.StatusCode.INTERNAL), str(error))
            raise
        except OSError as error:
            log.exception("call failed", method=name)
            await context.abort(grpc.StatusCode.INTERNAL, f"{name}: {error}")
            raise
        log.debug("call", method=name, milliseconds=round((time.monotonic() - started) * 1000, 1))
        return answer

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=types.request.FromString, response_serializer=types.response.SerializeToString
    )
