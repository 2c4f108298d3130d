"""What a service allows: every bound of what a request, or all of them together, may ask for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a service. Raises `ValueError` on one below 1."""

    k: int = 100
    """Items of an answer."""
    history: int = 1000
    """Events of a history; the model reads its last N."""
    histories: int = 64
    """Histories of a request."""
    candidates: int = 1000
    """Items of /score, and of `allow` and `deny`."""
    id_length: int = 256
    """Characters of an item id, or as many as the model's longest has."""
    body_bytes: int = 1 << 20
    """Bytes of a request's body."""
    head_seconds: float = 10.0
    """Seconds that the head of a request may take to arrive; then the connection is closed."""
    body_seconds: float = 10.0
    """Seconds that a body may take to arrive."""
    concurrency: int = 256
    """Requests in flight; more are answered 503 with Retry-After."""
    queue: int = 512
    """Users that wait for the device; more are answered 503 with Retry-After."""
    batch: int = 32
    """Users of one device call."""
    sessions: int = 10_000
    """Sessions in memory; the one unused for longest gives way to a new one."""
    session_seconds: float = 1800.0
    """Seconds after which an unused session is forgotten."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value >= 1 or field.name.endswith("seconds") and value > 0):
                raise ValueError(f"limits.{field.name}: expected at least 1, got {value}")
