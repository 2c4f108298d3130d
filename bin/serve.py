"""Serve a model over HTTP: MODEL is a folder that bin/retrain.py wrote. Ctrl-C or SIGTERM finishes what is in flight."""

import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from easrec_jax.cli import main
from easrec_jax.serve.settings import Limits


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    host: str = "127.0.0.1"
    """Address to listen on: loopback, unless told otherwise."""
    port: int = 8000
    """0: any free one."""
    limits: Limits = field(default_factory=Limits)


def command() -> None:
    arguments = tyro.cli(
        Arguments, description=f"{__doc__} EASREC_TOKEN: a bearer token to ask for.", use_underscores=True
    )

    from easrec_jax.serve.app import create_app
    from easrec_jax.serve.run import listen, serve

    token = os.environ.get("EASREC_TOKEN") or None
    app = create_app(arguments.model, arguments.limits, token)
    listener: socket.socket = listen(arguments.host, arguments.port)
    if token is None and not listener.getsockname()[0].startswith(("127.", "::1")):
        print(f"warning: anyone who reaches {arguments.host} may ask: EASREC_TOKEN is not set", file=sys.stderr)
    serve(app, listener, arguments.limits)


if __name__ == "__main__":
    main(command)
