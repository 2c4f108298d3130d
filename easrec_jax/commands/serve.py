"""Serve a model over HTTP: MODEL is a folder that retrain wrote. Ctrl-C or SIGTERM finishes what is in flight."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from easrec_jax.http.settings import Limits


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    budget: float | None = None
    """Of an elastic model: serve its most accurate network of at most so many FLOPs over the largest one's, in (0, 1]."""
    per_user: bool = False
    """Of an elastic model with a router (command route): answer each user by the size that it chooses."""
    host: str = "127.0.0.1"
    """Address to listen on: loopback, unless told otherwise."""
    port: int = 8000
    """0: any free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Host headers to answer to, such as shop.example or *.shop.example; * for any. Empty: on loopback localhost and the
    loopback addresses (another site could be pointed there and read the answers), elsewhere any."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may ask, such as https://shop.example; * for all."""
    root_path: str = ""
    """Prefix under which a proxy shows the service, such as /api, whether or not it strips it."""
    limits: Limits = field(default_factory=Limits)


def command() -> None:
    """Answer until told to stop."""
    arguments = tyro.cli(
        Arguments, description=f"{__doc__} EASREC_TOKEN: a bearer token to ask for.", use_underscores=True
    )

    from easrec_jax.http.addresses import LOCAL, is_loopback
    from easrec_jax.http.app import create_app
    from easrec_jax.http.run import listen, serve

    listener = listen(arguments.host, arguments.port)  # before the model is read: an address in use is told at once
    local = is_loopback(listener.getsockname()[0])
    token = os.environ.get("EASREC_TOKEN") or None
    app = create_app(
        arguments.model,
        arguments.limits,
        token,
        allowed_hosts=arguments.allowed_hosts or (LOCAL if local else ()),
        cors=arguments.cors,
        root_path=arguments.root_path,
        budget=arguments.budget,
        per_user=arguments.per_user,
    )
    if token is None and not local:
        print(f"warning: anyone who reaches {arguments.host} may ask: EASREC_TOKEN is not set", file=sys.stderr)
    serve(app, listener, arguments.limits)
