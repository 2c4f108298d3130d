"""What stands beside a searched network: one rival a file of `rivals/`, found by its name (`--retrain.baselines NAME`).

A rival is a network that is trained from scratch with the same data, protocol and effort, or a floor, which only counts. Each file
says what it is by `RIVAL`, where it comes from, what was kept of it and what was changed. Changed in all networks, as in those of
the search: blocks and attention are this package's (softmax is the original; `NAME+ATTENTION` is another), gates off, exact gelu,
weights by Glorot, a loss over all items at every position, no dropout inside the attention.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pkgutil import iter_modules
from typing import Any, NamedTuple

from jax import Array

from easrec_jax.config import ATTENTIONS, CAUSAL_ATTENTIONS, Config
from easrec_jax.data.split import Split
from easrec_jax.models import rivals
from easrec_jax.models.encoder import Encoder
from easrec_jax.typed import check


class Rival(NamedTuple):
    """How a rival is made: `network` of one that is trained, `floor` of one that is not; the other is None."""

    network: Callable[..., Encoder] | None = None
    """(Architecture, ItemFeatures or None, number of items, dropout rate) -> a network."""
    floor: Callable[[Split], tuple[Callable[[Any, Array], Array], Any]] | None = None
    """(split) -> a function `scores(weights, items)` and its weights, from training items alone."""
    flops: Callable[[Any], int] = lambda network: network.module.request_flops()
    """(network) -> FLOPs of a request, as `cost.request_flops` counts."""
    stacks: int = 1
    """Stacks of the architecture's layers in `network` whose last layer a request computes at the last position alone."""
    has_attention: bool = True
    """Whether the layers of `network` have one, so that NAME+ATTENTION is another network."""
    needs_features: bool = False
    """Whether `network` reads item features."""


def find_rival(name: str) -> tuple[Rival, str]:
    """The rival of that name and its attention: `sasrecf+linrec`, or `fdsa` alone, which is softmax; floors have none ("").

    Raises `ValueError` for a name of another form.
    """
    stem, plus, attention = name.partition("+")
    names = sorted(module.name for module in iter_modules(rivals.__path__))
    known: dict[str, Rival] = {name: importlib.import_module(f"{rivals.__name__}.{name}").RIVAL for name in names}
    rival = known.get(stem)
    floors = [name for name, other in known.items() if other.floor]
    networks = [name for name in known if name not in floors]
    forms = f"{', '.join(floors)}, or a network, {', '.join(networks)}, alone or, if it has one, with +ATTENTION ({', '.join(ATTENTIONS)})"
    varies = rival is not None and rival.floor is None and rival.has_attention
    fits = rival is not None and (not plus or (varies and attention in ATTENTIONS))
    check(fits, "retrain.baselines", forms, name)
    assert rival is not None
    return rival, "" if rival.floor else attention or "softmax"


def check_rival(name: str, config: Config) -> None:
    """Raise `ValueError` where there is no rival of that name, or none that can be trained as the config says."""
    rival, attention = find_rival(name)
    check(
        config.retrain.loss == "full" or not rival.needs_features,
        "retrain.baselines",
        "none with item features where retrain.loss = 'sampled' (their features are not renumbered with a batch)",
        name,
    )
    numbers = [column for column in config.data.feature_columns if column.endswith(":float")]
    expected = f"columns of values with retrain.baselines {name}, which reads no numbers"
    check(not numbers or not rival.needs_features, "data.feature_columns", expected, ", ".join(numbers))
    check(
        config.data.targets == "last" or attention in ("", *CAUSAL_ATTENTIONS),
        "retrain.baselines",
        f"no bidirectional {attention} with data.targets = 'all' (a loss at every position would leak the target)",
        name,
    )


def needs_features(name: str) -> bool:
    """Whether the rival of that name reads item features."""
    return find_rival(name)[0].needs_features
