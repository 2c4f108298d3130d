"""An application on a socket, until a signal ends it."""

from __future__ import annotations

import contextlib
import socket
import sys
from functools import partial
from typing import Any

import uvicorn

from easrec_jax.serve.protocol import BoundedHeads
from easrec_jax.serve.settings import Limits

GRACE_SECONDS = 30  # for what is in flight when the end is asked for


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` naming the address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror or error}") from None


def make_server(app: Any, head_seconds: float = Limits.head_seconds) -> uvicorn.Server:
    """uvicorn over an application: quiet, no websockets, patient with what is in flight at the end, not with slow heads."""
    protocol: Any = partial(BoundedHeads, head_seconds=head_seconds)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def serve(app: Any, listener: socket.socket, limits: Limits) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is in flight."""
    sys.setswitchinterval(
        0.001
    )  # the event loop and the device thread hand over often: neither waits 5 ms for the other
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}/  (the API: /docs; /ready says when the warm-up is over)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        make_server(app, limits.head_seconds).run(sockets=[listener])
