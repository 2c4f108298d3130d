"""What the package shows of itself before anything of it is imported."""

from __future__ import annotations

import importlib.metadata
import pydoc

import easrec_jax


def test_public_names_are_seen_and_there():
    assert set(easrec_jax.__all__) <= set(dir(easrec_jax)) and "__version__" in dir(easrec_jax)
    for name in easrec_jax.__all__:
        assert getattr(easrec_jax, name).__name__ == name
    assert easrec_jax.__version__ == importlib.metadata.version("easrec_jax")


def test_help_says_what_is_there():
    text = pydoc.plain(pydoc.render_doc(easrec_jax))
    for name in easrec_jax.__all__:
        assert name in text
    assert "class Recommender" in text and "recommend(" in text
