"""The cache of compiled programs: the user's alone, and bounded."""

from __future__ import annotations

import os

import jax
import pytest

from easrec_jax.runs import cli


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache folder of its own; what the tests themselves use comes back."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    mask = os.umask(0)
    yield tmp_path
    os.umask(mask)
    jax.config.update("jax_compilation_cache_dir", before)


def test_it_is_the_users_alone(home):
    for _ in range(2):
        cli.setup_compilation_cache()
        folder = home / "easrec_jax" / "xla"
        assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
        assert jax.config.jax_compilation_cache_dir == str(folder)
        folder.chmod(0o775)  # as earlier versions made it


def test_what_was_used_longest_ago_goes_first(home, monkeypatch):
    monkeypatch.setattr(cli, "CACHE_BYTES", 350)
    folder = home / "easrec_jax" / "xla"
    folder.mkdir(parents=True)
    for number, age in enumerate((5, 1, 4, 2, 3)):
        path = folder / f"program {number}"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    cli.setup_compilation_cache()
    assert sorted(path.name for path in folder.iterdir()) == ["program 1", "program 3", "program 4"]
