"""How much one client may take: bytes, seconds and connections."""

from __future__ import annotations

from dataclasses import dataclass

from hoshikage.settings import Settings

N_BODIES = 16  # of the longest kind may be there at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one server. A request beyond one of them gets an answer that names it."""

    header_bytes: int = 64 << 10  # request line and headers
    n_headers: int = 100
    header_seconds: float = 30.0  # from the first byte to the last header
    body_bytes: int = 32 << 20
    all_bodies_bytes: int = 512 << 20  # of all requests that are at work
    body_seconds: float = 30.0
    send_seconds: float = 30.0  # that a client may take no byte of its answer
    idle_seconds: float = 60.0  # from the connection to the first request, and between two
    n_connections: int = 2048  # beyond it, the longest idle one is closed
    n_requests: int = 256  # that work at a time
    quiet_seconds: float = 10.0  # of silence in a stream, then a comment keeps the line alive

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As the settings say."""
        return cls(
            header_bytes=settings.max_header,
            n_headers=settings.max_headers,
            header_seconds=settings.receive_timeout,
            body_bytes=settings.max_body,
            all_bodies_bytes=N_BODIES * settings.max_body,
            body_seconds=settings.receive_timeout,
            send_seconds=settings.send_timeout,
            idle_seconds=settings.connection_timeout,
            n_connections=settings.max_connections,
            n_requests=settings.max_streams,
        )
