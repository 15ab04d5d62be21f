"""Which names a server answers to, and which web pages may speak to it.

A page on the web can make a browser send requests to a server on the same machine, and by giving its own name the
address 127.0.0.1 it can even read the answers. It cannot choose the Host and Origin that the browser then names.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from hoshikage.server.problem import Problem

ANY = "*"
LOCAL_NAMES = ("localhost",)


class Hosts:
    """The Host list and the Origin list of one server."""

    def __init__(self, bound_to: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        own = () if is_loopback(bound_to) else (socket.gethostname(),)
        self._names = {name.lower() for name in (*LOCAL_NAMES, *own, bound_to, *hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    def check_host(self, host: str | None) -> None:
        """Raises Problem 403 for a name that is not ours. An address is no name that somebody can have taken."""
        if host is None or ANY in self._names:  # HTTP/1.0 needs none, and no browser speaks it
            return
        name = name_of(host)
        if name not in self._names and not is_address(name):
            sentence = "this server does not answer to the name in `Host`; list it in HOSHIKAGE_ALLOWED_HOSTS"
            raise Problem(403, sentence, "host_not_allowed")

    def check_origin(self, origin: str | None, host: str | None) -> str:
        """The origin that may read the answer, or nothing where no page asks. Raises Problem 403."""
        if origin is None:
            return ""
        parts = split_origin(origin)
        if ANY in self._origins or origin.lower() in self._origins:
            return origin
        if parts is not None and (parts[1].lower() == (host or "").lower() or is_loopback(parts[0])):
            return origin
        sentence = "pages of this `Origin` may not use this server; list it in HOSHIKAGE_ALLOWED_ORIGINS"
        raise Problem(403, sentence, "origin_not_allowed")


def split_origin(origin: str) -> tuple[str, str] | None:
    """(name, name with port) of a page's origin; None for `null` and what is no origin."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return None
    return (name, parts.netloc) if parts.scheme in ("http", "https") and name else None


def name_of(host: str) -> str:
    """The name in a Host header, its port cut off."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether only this machine can mean it."""
    return name.lower() in LOCAL_NAMES or (is_address(name) and ipaddress.ip_address(name).is_loopback)
