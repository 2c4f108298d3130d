"""An application on a socket, until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from functools import partial
from typing import Any

import uvicorn

from easrec_jax.http.protocol import BoundedHeads, Connections
from easrec_jax.http.settings import Limits

log = logging.getLogger("easrec_jax.http")

GRACE_SECONDS = 30  # for what is in flight when the end is asked for


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` naming the address that cannot be had."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port: expected 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # not so where a name is not found
        raise OSError(f"{host}:{port}: {os.strerror(error.errno or 0) if known else error.strerror}") from None


def make_server(app: Any, limits: Limits | None = None) -> uvicorn.Server:
    """uvicorn over an application: quiet, no websockets, patient with what is in flight at the end, within bounds."""
    protocol: Any = partial(BoundedHeads, shared=Connections(limits or Limits()))
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


def show_progress() -> None:
    """Lines of progress go to stdout; warnings stay on stderr."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(lambda record: record.levelno < logging.WARNING)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    warned = logging.StreamHandler(sys.stderr)
    warned.setLevel(logging.WARNING)
    log.addHandler(warned)
    log.propagate = False


def serve(app: Any, listener: socket.socket, limits: Limits) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is in flight."""
    # the event loop and the device thread hand over often: neither waits 5 ms for the other
    sys.setswitchinterval(0.001)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}/  (the API: /docs; /ready says when the warm-up is over)", flush=True)
    show_progress()
    with contextlib.suppress(KeyboardInterrupt):
        make_server(app, limits).run(sockets=[listener])
