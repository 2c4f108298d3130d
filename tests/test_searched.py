"""Every pick is shown as searched, with how it was chosen: the reader of what a search wrote, the page, the service's picture."""

from __future__ import annotations

import dataclasses
import json
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig, SearchConfig
from easrec_jax.config_files import to_json
from easrec_jax.runs.figures import draw_search
from easrec_jax.runs.page import write_page
from easrec_jax.runs.picture import architecture_svg, read_drawn
from easrec_jax.runs.records import read_runs
from easrec_jax.runs.searched import compared_networks, factors, last_shares, was_searched

PAIRED = Config(
    model=ModelConfig(width=16, inner=32, layers=3, heads=2, max_length=8), search=SearchConfig(prune=(0.0, 0.5))
)
WIDE = dataclasses.replace(
    PAIRED,
    search=SearchConfig(
        prune=(0.0, 0.5), inner_prune=(0.0, 0.75), heads=(1, 2), gate_layers=(0, 2),
        attentions=("recent_linrec", "causal_linrec"),
    ),
)  # fmt: skip
PICK = Architecture(8, (32, 8), 2, 1, 8, "causal_linrec", 2)
PAIRED_SHARES = {"width": [0.72, 0.28], "depth": [0.11, 0.83, 0.06]}
WIDE_SHARES = PAIRED_SHARES | {
    "heads": [0.61, 0.39], "gate_layers": [0.36, 0.64], "attention": [0.45, 0.55],
    "inner": [[0.47, 0.53], [0.37, 0.52], [0.01, 0.05]],
}  # fmt: skip
RIVAL = dataclasses.replace(PICK, depth=1, inner=8)
FINALISTS = [
    {"network": 3, "architecture": RIVAL.to_json(), "cost": 0.2, "ndcg@10": 0.1234},
    {"network": 7, "architecture": PICK.to_json(), "cost": 0.4, "ndcg@10": 0.2345},
]
CHOSEN = {  # what chose a network: the config of its search, and what the search said
    "wide": (WIDE, {"method": "easrec", "shares": WIDE_SHARES, "finalists": FINALISTS}),
    "random": (WIDE, {"method": "random", "finalists": FINALISTS}),
    "exhaustive": (PAIRED, {"method": "exhaustive", "finalists": FINALISTS}),
    "paired": (PAIRED, {"method": "easrec", "shares": PAIRED_SHARES, "finalists": FINALISTS}),
    "paired, as p and q": (
        PAIRED, {"method": "darts", "p": [0.72, 0.28], "q": [0.11, 0.83, 0.06], "finalists": [{"candidate": 1, "depth": 2}]},
    ),
}  # fmt: skip


def write_model(folder: Path, config: Config, chosen_by: dict, pick: Architecture = PICK) -> Path:
    folder.mkdir(parents=True)
    described = pick.to_json() | {"chosen_by": chosen_by}
    (folder / "architecture.json").write_text(json.dumps(described))
    (folder / "config.json").write_text(to_json(config))
    return folder


def picture(folder: Path) -> str:
    """The words of the service's picture."""
    return " ".join(ElementTree.fromstring(architecture_svg(read_drawn(folder, 40))).itertext())


def page(folder: Path, config: Config, chosen_by: dict, records: list[dict]) -> str:
    """The report of a run that has searched."""
    search = write_model(folder / "run" / "search", config, chosen_by)
    (search / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    write_page(read_runs([folder / "run"], latency=False), folder / "report.html")
    return (folder / "report.html").read_text()


def epochs(shares: dict) -> list[dict]:
    pick = {"network": 7, "what": PICK.describe(), "cost": 0.4}
    return [{"epoch": e, "shares": shares, "expected_cost": 0.5, "pick": pick, "ndcg@10": 0.1 * e} for e in (1, 2)]


@pytest.mark.parametrize("kind", CHOSEN)
def test_the_picture_says_of_every_pick_that_it_was_searched(kind, tmp_path):
    words = picture(write_model(tmp_path / "model", *CHOSEN[kind]))
    assert "found by the search" in words and "not searched" not in words
    assert "layer 3: left out by the search" in words and "layer 2: left out" not in words


def test_a_network_of_given_sizes_was_not_searched(tmp_path):
    for kind, chosen in enumerate(({"method": "fixed"}, {"method": "continued", "model": "x"})):
        words = picture(write_model(tmp_path / str(kind), WIDE, chosen))
        assert "not searched" in words and "left out" not in words and not was_searched(chosen)


def test_the_picture_of_a_wide_pick_shows_the_shares_of_every_choice(tmp_path):
    words = picture(write_model(tmp_path / "model", *CHOSEN["wide"]))
    for title in ("width", "depth", "heads", "layers of the gates", "attention", "inner size of layer 3"):
        assert f" {title} " in words
    for share in ("0.72", "0.83", "0.61", "0.64", "0.55", "0.53", "0.37", "0.05"):
        assert share in words


@pytest.mark.parametrize("kind", ["random", "exhaustive"])
def test_without_a_supernet_the_picture_shows_the_networks_that_were_trained(kind, tmp_path):
    svg = architecture_svg(read_drawn(write_model(tmp_path / "model", *CHOSEN[kind]), 40))
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert words.index("2 x 8/[32, 8] causal_linrec 0.2345") < words.index("1 x 8/8 causal_linrec 0.1234")
    many = [entry | {"ndcg@10": 0.1 + k / 1000} for k, entry in enumerate([FINALISTS[0]] * 30)]
    words = picture(write_model(tmp_path / "many", CHOSEN[kind][0], {"method": kind, "finalists": many}))
    assert "the best 8 of 30" in words and "0.1290" in words and "0.1210" not in words


def test_a_config_that_does_not_fit_keeps_no_picture_from_being_drawn(tmp_path):
    """Retrained under other candidates, or written by another version: the pick was searched all the same."""
    other = dataclasses.replace(WIDE, search=dataclasses.replace(WIDE.search, prune=(0.0, 0.25, 0.5)))
    words = picture(write_model(tmp_path / "other", other, CHOSEN["wide"][1]))
    assert "found by the search" in words and "0.72" not in words and "0.83" in words
    folder = write_model(tmp_path / "broken", *CHOSEN["wide"])
    (folder / "config.json").write_text('{"search": {"unheard_of": 1}}')
    assert "found by the search" in picture(folder)


@pytest.mark.parametrize("kind", ["wide", "paired"])
def test_the_page_shows_the_shares_of_a_supernets_search(kind, tmp_path):
    config, chosen = CHOSEN[kind]
    text = page(tmp_path, config, chosen, epochs(chosen["shares"]))
    assert "Last shares of the search" in text and "Finalists of the search" in text and "<img" in text
    assert "<td class='best'>2 layers: 0.83</td>" in text and "<td>1 layer: 0.11</td>" in text
    assert ("<td class='best'>8 / 16: 0.28</td>" in text) == (kind == "paired")
    assert ("<td class='best'>causal_linrec: 0.55</td>" in text) == (kind == "wide")
    assert "<td class='best'>2 x 8/[32, 8] causal_linrec</td>" in text and "&quot;shares&quot;" not in text


@pytest.mark.parametrize("kind", ["random", "exhaustive"])
def test_the_page_shows_the_networks_of_a_search_without_a_supernet(kind, tmp_path):
    config, chosen = CHOSEN[kind]
    text = page(tmp_path, config, chosen, [{"epoch": n} | entry for n, entry in enumerate(FINALISTS, 1)])
    assert "Networks that the search trained" in text and "Last shares" not in text and "<img" in text
    assert "<td class='best'>2 x 8/[32, 8] causal_linrec</td><td>0.4</td><td>0.2345</td>" in text
    assert "<td>1 x 8/8 causal_linrec</td><td>0.2</td><td>0.1234</td>" in text


def test_files_of_before_read_as_those_of_now():
    known = factors(PAIRED)
    old, new = (last_shares(CHOSEN[kind][1], known) for kind in ("paired, as p and q", "paired"))
    assert old == new and [factor.title for factor, _ in new] == ["width / inner size", "depth"]
    lines = epochs(PAIRED_SHARES)
    before = [line | {"p": line["shares"]["width"], "q": line["shares"]["depth"]} for line in lines]
    for line in before:
        del line["shares"]
        line["pick"] = {"candidate": 1, "depth": 2, "cost": 0.4}
    drawn = [BytesIO(), BytesIO()]
    for file, records in zip(drawn, (lines, before), strict=True):
        draw_search(records, PAIRED, file)
    assert drawn[0].getvalue() == drawn[1].getvalue()


def test_shares_of_other_options_are_refused_by_the_figure():
    with pytest.raises(ValueError, match="shares of width / inner size: expected 2, got 3"):
        draw_search(epochs({"width": [0.2] * 3, "depth": [0.1] * 3}), PAIRED, BytesIO())


def test_choices_without_an_alternative_are_none():
    one = dataclasses.replace(WIDE, search=SearchConfig(prune=(0.0,), heads=(1, 2)))
    assert [factor.field for factor in factors(one)] == ["depth", "heads"]
    shared = dataclasses.replace(WIDE, search=dataclasses.replace(WIDE.search, per_layer=False))
    assert [factor.title for factor in factors(shared)][-1] == "inner size"


def test_what_a_finalist_lacks_does_not_stop_the_reader():
    assert compared_networks({"finalists": [{"candidate": 1}, "x", FINALISTS[0]]}) == [FINALISTS[0], {"candidate": 1}]
    assert compared_networks({"finalists": None}) == [] == compared_networks({})
