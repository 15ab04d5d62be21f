"""The socket that a server listens on. It is there before the server's own modules are: who comes meanwhile waits."""

from __future__ import annotations

import errno
import os
import socket

from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.settings import Settings

BACKLOG = 2048
HERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # who listens everywhere is found here


def bind(settings: Settings) -> socket.socket:
    """A socket that listens. Raises ParameterError with what to do."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ParameterError("HOST", f"{settings.host!r} is no address: {error.strerror}", "use 127.0.0.1") from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise cannot_listen(settings, error) from None
    bound.setblocking(False)
    return bound


def cannot_listen(settings: Settings, error: OSError) -> HoshikageError:
    where = f"{settings.host}:{settings.port}"
    match error.errno:
        case errno.EADDRINUSE:
            remedy = "stop it, or choose another with --port; --port 0 takes any that is free"
            return ParameterError("PORT", f"something listens on {where} already", remedy)
        case errno.EACCES:
            return ParameterError("PORT", f"this user may not listen on {where}", "choose a port from 1024 on")
        case errno.EADDRNOTAVAIL:
            return ParameterError("HOST", f"{settings.host} is no address of this machine", "use 127.0.0.1 or 0.0.0.0")
    return ParameterError("HOST", f"cannot listen on {where}: {os.strerror(error.errno or 0)}", "use another address")


def url_of(bound: socket.socket) -> str:
    """How to reach it from here."""
    host, port = bound.getsockname()[:2]
    return url_at(host, port)


def url_at(host: str, port: int) -> str:
    """The address of a server that listens there; one that listens everywhere is found here."""
    host = HERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
