"""One measurement, asked for as JSON on the command line, answered as JSON on the last line: `run.py` and `gpu.py` call this."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from device import CHECKS
from growth import catalogue, scaling
from inference import bulk, long, one_user, start
from subject import limits
from training import search, train

from easrec_jax.runs.cli import main


def command() -> None:
    request = json.loads(sys.argv[1])
    measurements: dict[str, Callable[[], dict]] = {
        "limits": limits,
        "train-sasrec": lambda: train("sasrec", request),
        "train-model": lambda: train("model", request),
        "search": lambda: search(request),
        "bulk-model": lambda: bulk("model", request, prefix="inference"),
        "bulk-sasrec": lambda: bulk("sasrec", request, prefix="inference.sasrec"),
        "long-model": lambda: long("model", request, prefix="inference.long"),
        "long-sasrec": lambda: long("sasrec", request, prefix="inference.long_sasrec"),
        "one-user": lambda: one_user(request),
        "start": lambda: start(request),
        "scaling": lambda: scaling(request),
        "catalogue": lambda: catalogue(request),
    }
    measurements |= {name: lambda check=check: check(request) for name, check in CHECKS.items()}
    print(json.dumps(measurements[request["name"]]()))


if __name__ == "__main__":
    main(command)
