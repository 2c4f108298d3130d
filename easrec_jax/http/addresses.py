"""Who asks, and by which name: addresses that count as one client, names that a server may be called by."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

LOCAL = ("localhost", "*.localhost")  # with the loopback addresses: nobody can make these mean another machine


def client_of(address: Sequence | None) -> str:
    """What counts as one client: an address, of IPv6 its network of 64 bits (one client may have all of that)."""
    host = str(address[0]) if address else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_allowed(host: bytes, names: Sequence[str]) -> bool:
    """Whether a Host header, its port left out, is a loopback address or one of the names (*.x: all below x; *: any)."""
    found = re.fullmatch(r"\[([^\[\]]*)\](:\d*)?|([^:\[\]]+?)\.?(:\d*)?", host.decode("latin-1").lower())
    if found is None:
        return False
    name = found[1] or found[3] or ""
    return is_loopback(name) or any(
        known in ("*", name) or known.startswith("*.") and name.endswith(known[1:]) for known in map(str.lower, names)
    )


def check_origin(origin: str) -> str:
    """An origin as browsers send it. Raises `ValueError`."""
    parts = urlsplit(origin)
    known = parts.scheme in ("http", "https") and parts.netloc
    if origin != "*" and not (known and origin == f"{parts.scheme}://{parts.netloc}".lower()):
        raise ValueError(
            f"cors: expected origins such as https://shop.example (no path, lower case) or *, got {origin!r}"
        )
    return origin
