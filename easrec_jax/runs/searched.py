"""How a search chose, the one reader of what it wrote: the options and shares of each choice, and the networks it compared.

It is in `chosen_by` of architecture.json and in the lines of search/metrics.jsonl. Versions that knew only the paper's space
wrote `p` and `q` instead of the shares of widths and depths.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from easrec_jax.cells import EDGES, KIND, NAMES
from easrec_jax.config import ADAREC, Config
from easrec_jax.space import space_of

TITLES = {"depth": "depth", "heads": "heads", "gate_layers": "layers of the gates", "attention": "attention"}
FIGURES = ("cost", "probability", "price", "ndcg@10", "cross_entropy")  # of a finalist, as far as it has them


class Factor(NamedTuple):
    """One choice of a search: its options, as values of that `field` of an architecture and as they are shown."""

    title: str
    field: str
    options: tuple
    labels: tuple[str, ...]
    layer: int | None = None  # of an inner size, or edge of an operation, from 0; None: one for all layers

    def shares(self, record: dict) -> list[float]:
        """The probability of each option in a record, summing to that of the layer. Raises `ValueError` for other options."""
        found: Any = _shares(record)[self.field]
        if self.field in ("inner", "operations"):
            found = found[self.layer or 0]
        if len(found) != len(self.options):
            raise ValueError(f"shares of {self.title}: expected {len(self.options)}, got {len(found)}")
        return [float(share) for share in found]

    def picked(self, architecture: dict) -> list[bool]:
        """Which option an architecture has, none where it lacks the layer."""
        value, layer = architecture.get(self.field), self.layer or 0
        if self.field == "inner" and layer >= architecture.get("depth", 1):
            value = None
        elif isinstance(value, list):
            value = value[layer]
        return [option == value for option in self.options]


def factors(config: Config) -> list[Factor]:
    """What a search by this config chooses among: every factor with more than one option."""
    if config.search.strategy == ADAREC:
        titles = [f"edge {source} to {node}" for source, node in EDGES]
        return [Factor(title, "operations", NAMES, NAMES, layer=number) for number, title in enumerate(titles)]
    space = space_of(config)
    titles, fields = TITLES, space.factors
    labels = {name: tuple(map(str, options)) for name, options in fields.items()}
    labels["depth"] = tuple(f"{depth} layer{'s' * (depth > 1)}" for depth in fields["depth"])
    if space.inner_of == "width":
        titles = titles | {"width": "width / inner size"}
        labels["width"] = tuple(f"{w} / {inner}" for w, inner in zip(space.widths, space.inners, strict=True))
    found = [Factor(titles.get(name, name), name, options, labels[name]) for name, options in fields.items()]
    sizes = space.inners, tuple(map(str, space.inners))
    if space.inner_of == "layer":
        found += [Factor(f"inner size of layer {n + 1}", "inner", *sizes, layer=n) for n in range(space.num_layers)]
    elif space.inner_of == "network":
        found += [Factor("inner size", "inner", *sizes)]
    return [factor for factor in found if len(factor.options) > 1]


def _shares(record: dict) -> dict[str, list]:
    """By field; `KeyError` where the record has none."""
    return record["shares"] if "shares" in record else {"width": record["p"], "depth": record["q"]}


def was_searched(chosen_by: dict) -> bool:
    """Whether a search chose the architecture, by whichever strategy."""
    return any(name in chosen_by for name in ("shares", "p", "finalists"))


def last_shares(chosen_by: dict, known: list[Factor]) -> list[tuple[Factor, list[float]]]:
    """Each factor with the last shares of its options; none without a supernet.

    A factor whose shares cannot be read, as they are another config's, is left out.
    """
    found = []
    for factor in known:
        try:
            found.append((factor, factor.shares(chosen_by)))
        except (KeyError, IndexError, TypeError, ValueError):
            continue
    return found


def compared_networks(chosen_by: dict) -> list[dict]:
    """The networks that the search trained and compared, the best by validation NDCG@10 first."""
    finalists = chosen_by.get("finalists")
    found = [entry for entry in finalists if isinstance(entry, dict)] if isinstance(finalists, list) else []
    return sorted(found, key=lambda entry: -(validation_ndcg(entry) or 0.0))


def validation_ndcg(entry: dict) -> float | None:
    """NDCG@10 of one of `compared_networks`; None of the only finalist, which was not trained alone."""
    value = entry.get("ndcg@10")
    return float(value) if isinstance(value, int | float) else None


def is_pick(entry: dict, architecture: dict) -> bool:
    """Whether one of `compared_networks` is that architecture."""
    mine = entry.get("architecture")
    return isinstance(mine, dict) and all(architecture.get(name) == value for name, value in mine.items())


def network_name(architecture: dict) -> str:
    """In short, for a table: depth x width/inner attention, depth x width cells; "-" for nothing."""
    if architecture.get("kind") == KIND:
        return f"{architecture.get('depth')} x {architecture.get('width')} {KIND}"
    sizes = f"{architecture.get('depth')} x {architecture.get('width')}/{architecture.get('inner')}"
    return f"{sizes} {architecture.get('attention')}" if architecture else "-"
