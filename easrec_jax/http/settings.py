"""What a service allows: every bound of what a request, or all of them together, may ask for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a service. Raises `ValueError` on one below 1 (0, where that is none).

    Behind a proxy all connections come from its address. Sessions count by the client's, if the proxy is on this machine
    and says it (X-Forwarded-For).
    """

    k: int = 100
    """Items of an answer."""
    history: int = 1000
    """Events of a history that count, its latest ones; the model reads the last N."""
    histories: int = 64
    """Histories of a request."""
    candidates: int = 1000
    """Items of /score, and of `allow` and `deny`."""
    id_length: int = 256
    """Characters of an item id, or as many as the model's longest has."""
    body_bytes: int = 1 << 20
    """Bytes of a request's body."""
    head_bytes: int = 1 << 16
    """Bytes of a request's head; more are answered 431, and the connection is closed."""
    headers: int = 100
    """Headers of a request; more are answered 431, and the connection is closed."""
    head_seconds: float = 10.0
    """Seconds that the head of a request may take to arrive; then the connection is closed."""
    body_seconds: float = 10.0
    """Seconds that a body may take to arrive."""
    concurrency: int = 256
    """Requests in flight, their bodies being there; more are answered 503 with Retry-After."""
    connections_per_address: int = 512
    """Connections of one address; more are answered 503 and closed. 0: no bound, for a proxy in front."""
    queue: int = 512
    """Users that wait for the device; more are answered 503 with Retry-After."""
    batch: int = 32
    """Users of one device call; a smaller number leaves less to compile."""
    sessions: int = 10_000
    """Sessions in memory; the one unused for longest gives way to a new one, an address's own if it has its share."""
    sessions_per_address: int = 0
    """Sessions of one address; its own oldest gives way. 0: no bound but its share, once the memory is full."""
    session_seconds: float = 1800.0
    """Seconds after which an unused session is forgotten."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.endswith("_per_address") else 1
            if not (value >= least or field.name.endswith("seconds") and value > 0):
                raise ValueError(f"limits.{field.name}: expected at least {least}, got {value}")
