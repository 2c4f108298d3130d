"""A process forked after JAX had started has lost JAX's threads: every call of it would wait for ever."""

from __future__ import annotations

import os
import sys

_forked = False


def refuse_fork() -> None:
    """Raise `RuntimeError` in such a process."""
    if _forked:
        raise RuntimeError(
            "this process was forked after JAX had started, and JAX's threads stayed behind: start workers by 'spawn' "
            "(multiprocessing.get_context('spawn'), gunicorn without --preload), or fork first and load the model in the child"
        )


def _note() -> None:
    """In the child: whether JAX had started. Its own word for that takes a lock, which a fork may leave locked."""
    global _forked
    bridge = sys.modules.get("jax._src.xla_bridge")
    _forked = _forked or (bridge is not None and bool(getattr(bridge, "_backends", True)))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
