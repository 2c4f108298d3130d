"""The service that its tests ask: one small model a module, served on a thread."""

from __future__ import annotations

import pytest
from serving import LIMITS, running, save_small_model, warmed_up

from easrec_jax.http.app import create_app
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder)


@pytest.fixture(scope="module")
def client(folder):
    with running(create_app(folder, LIMITS)) as client:
        yield warmed_up(client)
