"""What the tests of the service share: a small saved model with awkward ids, and a server on a thread."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import httpx
import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.artifact import Model, save_model
from easrec_jax.config import Config
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.network import Network, init_network
from easrec_jax.serve.run import listen, make_server
from easrec_jax.serve.settings import Limits

HOSTILE = ("a b", 'q"uote', "<img src=x onerror=\"document.title='broken'\">", "new\nline", "ü", "x" * 300)
IDS = (*HOSTILE, *(f"i{k}" for k in range(1, 35)))
TITLES = {
    "i1": "The Long Walk",
    "i2": "Walking <b>Home</b>",
    "i3": "A walk, then",
    "i4": "Boardwalk",
    HOSTILE[2]: HOSTILE[2],
}
ARCHITECTURE = Architecture(
    width=8, inner=16, depth=2, heads=2, max_length=8, attention="recent_linrec", gate_layers=2, conv_width=4
)
LIMITS = Limits(k=20, history=20, histories=6, candidates=50, batch=4, sessions=50, body_bytes=400_000)


def save_small_model(folder: Path, architecture: Architecture = ARCHITECTURE) -> Path:
    """A model folder with random weights."""
    weights = init_network(Network(architecture, len(IDS)), jax.random.key(0))
    popularity = np.concatenate([[0], np.arange(len(IDS), 0, -1)])
    model = Model(architecture, weights, IdMap(IDS), popularity, {"test": {}}, TITLES)
    described = architecture.to_json() | {"flops": 1000, "parameters": 1234, "chosen_by": {"method": "fixed"}}
    save_model(folder, model, architecture=described, config=to_json(Config()), metrics="")
    return folder


@contextlib.contextmanager
def running(app, *, ready: bool = True, **options):
    """A client of the application, served on loopback until the block ends."""
    listener = listen("127.0.0.1", 0)
    server = make_server(app, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            while ready and client.get("/ready").status_code != 200:
                time.sleep(0.05)
            yield client
    finally:
        server.should_exit = True
        thread.join()
