"""Answers as lines to read, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from easrec_jax.data.interactions import IdMap
from easrec_jax.serving.answer import Answers


def listing(answers: Answers, users: Sequence[str], titles: Mapping[str, str]) -> Iterator[str]:
    """A line a recommendation: rank, item, score and title; above them the user, if there is more than one."""
    for user, answer in zip(users, answers, strict=True):
        if len(answers) > 1:
            yield f"user {printable(user)}"
        for rank, (item, score) in enumerate(answer, 1):
            yield f"{rank:3d}  {printable(item):20s} {score:8.4f}  {printable(titles.get(item, ''))}".rstrip()
        if not answer:
            yield "     nothing: no item of the history is known to the model, or nothing is left"


def printable(text: str) -> str:
    """On one line and without commands to the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def check_some_known(item_ids: IdMap, history: str) -> None:
    """Raise `ValueError` if a history, ids separated by blanks, has some and the model knows none of them."""
    items = history.split()
    if items and not item_ids.encode(items).any():
        shown = ", ".join(repr(raw[:60]) for raw in items[:5]) + (", ..." if len(items) > 5 else "")
        raise ValueError(f"--history: no known item in {shown}; {_hint(history)}")


def _hint(history: str) -> str:
    separator = next((sign for sign in ",;|" if sign in history), None)
    if separator is None:
        return "expected ids of items that the model was trained on"
    return f"ids are separated by blanks, is {separator!r} meant to separate them?"
