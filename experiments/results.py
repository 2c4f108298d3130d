"""`docs/results.md` from what the experiments wrote, and from nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from easrec_jax.files import read_json, write_text

EXPERIMENTS = {
    "table3": "Table III: accuracy",
    "table4": "Table IV: inference time and memory",
    "table5": "Table V: ablations",
    "figure4": "Figure 4: lambda and the budget",
    "space": "The whole space, and what each search picked of it",
    "wide": "The wide space",
    "headline": "One network against one network",
    "elastic": "One network, every size",
    "canet": "A network for each user",
    "field": "Sparse data beside published figures",
    "adarec": "A small network with a teacher",
}


def write_document(workdir: Path, path: Path) -> list[str]:
    """Write `path` (Markdown) from WORKDIR/DATASET-SCALE/EXPERIMENT.json and .md; what it holds is returned.

    Smoke scale is left out, its figures mean nothing. Raises `ValueError` where there is no finished experiment.
    """
    sections, found = [], []
    for folder in sorted(p for p in workdir.glob("*") if p.is_dir() and not p.name.endswith("-smoke")):
        there = [
            name for name in EXPERIMENTS if (folder / f"{name}.json").is_file() and (folder / f"{name}.md").is_file()
        ]
        for name in there:
            sections.append(_section(folder, name, Path(os.path.relpath(folder, path.parent)).as_posix()))
            found.append(f"{folder.name} {name}")
        if there and (missing := [name for name in EXPERIMENTS if name not in there]):
            sections.append(f"Not run on {folder.name}: {', '.join(missing)}.")
    if not found:
        raise ValueError(f"{workdir}: expected finished experiments in DATASET-SCALE/, found none")
    write_text(path, "\n\n".join([HEAD, *sections]) + "\n")
    return found


HEAD = """# Results

Written by `python bin/reproduce.py results` from the JSON files of finished experiments; do not edit. Each table says how
it was made. `cpu` is the scale that two cores manage, `paper` the paper's own settings (`experiments/recipes.py`).
Commit, device and JAX are those of its cells; a commit with a plus sign had changes on top. DATASET-SCALE/cells/ holds
finished cells, one training or search each, a training with every user's ranks beside it: the commands go on from them, and
make those that are not there. The paper's data are not the same: its ML-1M has 6,040 users, 3,706 items and 1,000,209
interactions, its Gowalla 64,115 users, 164,532 items and 2,018,421 interactions, its Douban 110,090 users, 28 items and
2,125,056 interactions (planted data of that shape stand in for it);
the rest is not in the paper."""


def _section(folder: Path, name: str, link: str) -> str:
    about = read_json(folder / f"{name}.json").get("about")
    if about is None:
        raise ValueError(f"{folder / name}.json: expected how it was made (`about`); run that experiment again")
    parts = [f"## {folder.name}: {EXPERIMENTS[name]}", _how(about), (folder / f"{name}.md").read_text().strip()]
    kept = [f"{name}.{kind}" for kind in ("json", "csv", "png") if (folder / f"{name}.{kind}").is_file()]
    links = {file: f"{link}/{file}" for file in kept}
    if f"{name}.png" in links:
        parts.append(f"![{EXPERIMENTS[name]}, {folder.name}]({links.pop(f'{name}.png')})")
    parts.append("Files: " + ", ".join(f"[{file}]({link})" for file, link in links.items()) + ".")
    return "\n\n".join(parts)


def _how(about: dict) -> str:
    """The lines under a heading."""
    data = about["data"]
    return (
        f"    {about['command']}\n\n"
        f"Commit {', '.join(about['commits'])}; data {data['source']}: {data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions; loss at {'every position' if about['targets'] == 'all' else 'the last position'}; "
        f"epochs chosen by validation {about['select_by']}; {about['seeds']} seed{'s' * (about['seeds'] > 1)}; "
        f"cells on {', '.join(about['devices'])}; JAX {', '.join(about['jax'])}."
    )
