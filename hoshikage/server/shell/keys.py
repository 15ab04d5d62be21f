"""Who may ask for what. A route without a line here cannot be reached: what is not allowed is denied."""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Iterable

from hoshikage.server.problem import Problem
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.shell.hosts import is_loopback

FORWARDING = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
    "x-forwarded-server", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip",
)  # fmt: skip


class Access(enum.Enum):
    """For whom a route is."""

    OPEN = "anybody"
    USER = "those with a key, where there are keys"
    ADMIN = "the owner of the machine"


class Keys:
    """The keys of one server, held as digests so that no comparison tells anything of them."""

    def __init__(self, bound_to: str, user: Iterable[str] = (), admin: str | None = None) -> None:
        self._user = [digest(key) for key in user]
        self._admin = digest(admin) if admin else None
        self._local = is_loopback(bound_to)

    def check(self, exchange: Exchange, access: Access) -> None:
        """Raises Problem 401 or 403; otherwise `exchange.who` tells the holders of keys apart."""
        if access is Access.OPEN:
            return
        given = key_of(exchange)
        is_admin = self._admin is not None and given is not None and hmac.compare_digest(given, self._admin)
        is_user = given is not None and any(hmac.compare_digest(given, key) for key in self._user)
        if given is not None and (is_admin or is_user):
            exchange.who = given[:8].hex()
        if access is Access.ADMIN:
            self._check_admin(exchange, is_admin, is_user)
        elif self._user and not (is_user or is_admin):
            raise unauthorized(given)

    def _check_admin(self, exchange: Exchange, is_admin: bool, is_user: bool) -> None:
        if is_admin:
            return
        if self._admin is not None and not is_user:
            raise unauthorized(key_of(exchange))
        if self._admin is not None or self._user:
            remedy = "ask with the admin key" if self._admin else "set HOSHIKAGE_ADMIN_KEY and ask with it"
            raise Problem(403, f"this is for the owner of the machine; {remedy}", "admin_only")
        if not self._local or any(name in exchange.headers for name in FORWARDING):
            cause = "without an admin key, only requests made on this machine to 127.0.0.1 may do this"
            raise Problem(403, f"{cause}; set HOSHIKAGE_ADMIN_KEY and ask with it", "admin_only")


def key_of(exchange: Exchange) -> bytes | None:
    """The digest of the key that came with a request, from where OpenAI's clients put it or some others do."""
    scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        key = exchange.headers.get("x-api-key", "")
    return digest(key.strip()) if key.strip() else None


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def unauthorized(given: bytes | None) -> Problem:
    cause = "this server wants a key and got none" if given is None else "this key is not known here"
    sentence = f"{cause}; send `Authorization: Bearer KEY`"
    return Problem(401, sentence, "invalid_api_key", headers={"www-authenticate": "Bearer"})
