"""Settings have the types that they say: NumPy's numbers are taken for Python's, everything else is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    ProxylessConfig,
    RecnasConfig,
    RetrainConfig,
    SearchConfig,
)
from easrec_jax.config_files import from_json, to_json


def test_numbers_of_numpy_types_are_pythons_and_survive_the_file():
    config = Config(
        data=DataConfig(path="x", planted=PlantedConfig(lengths=[np.int32(4), np.int64(9)])),
        model=ModelConfig(gate_layers=np.int64(1), dropout=np.float64(0.25), learn_decay=np.bool_(True)),
        search=SearchConfig(prune=list(np.array([0.0, 0.5])), budget=np.float32(0.5)),
        retrain=RetrainConfig(epochs=np.int64(3), learning_rate=np.float32(0.5), from_model="m"),
        evaluate=EvaluateConfig(ks=(np.int32(10),)), seed=np.int64(7),
    )  # fmt: skip
    plain = Config(
        data=DataConfig(path="x", planted=PlantedConfig(lengths=(4, 9))),
        model=ModelConfig(gate_layers=1, dropout=0.25, learn_decay=True),
        search=SearchConfig(prune=(0.0, 0.5), budget=0.5),
        retrain=RetrainConfig(epochs=3, learning_rate=0.5, from_model="m"), seed=7,
    )  # fmt: skip
    assert config == plain and hash(config) == hash(plain) and to_json(config) == to_json(plain)
    assert from_json(to_json(config)) == plain
    assert type(config.retrain.epochs) is int and type(config.search.prune[0]) is float and type(config.seed) is int


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 2.5, "a whole number"),
        ("epochs", np.float64(2.0), "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", "3", "a whole number"),
        ("epochs", np.array(3), "a whole number"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", np.float32("inf"), "a finite number"),
        ("learning_rate", "0.1", "a finite number"),
        ("baseline_learning_rate", "high", "a finite number"),
        ("schedule", "linear", "one of 'constant', 'cosine'"),
        ("baselines", "popularity", "values, each text"),
        ("from_model", None, "text"),
    ],
)
def test_other_values_are_refused_by_name(name, value, expected):
    with pytest.raises(ValueError, match=rf"^retrain\.{name}: expected {expected}, got "):
        RetrainConfig(**{name: value})


def test_a_file_with_a_wrong_type_is_named():
    with pytest.raises(ValueError, match=r"config\.json: search\.epochs: expected a whole number, got '5' \(str\)"):
        from_json('{"search": {"epochs": "5"}}')


def test_a_config_of_a_version_without_a_part_for_planted_data_is_read():
    shape = {"users": 60, "items": 24, "clusters": 4, "tastes": 5, "variants": 3, "lengths": [3, 36]}
    older = json.dumps({"data": {"k_core": 5} | {f"planted_{name}": value for name, value in shape.items()}})
    planted = PlantedConfig(users=60, items=24, clusters=4, tastes=5, variants=3, lengths=(3, 36))
    assert from_json(older) == Config(data=DataConfig(k_core=5, planted=planted))
    assert from_json('{"data": {"planted_users": 60}}').data.planted == PlantedConfig(users=60)
    assert from_json(to_json(from_json(older))) == from_json(older)
    with pytest.raises(ValueError, match=r"c\.json: data\.planted: unknown fields \['nonsense'\]"):
        from_json('{"data": {"planted_nonsense": 60}}', source="c.json")
    with pytest.raises(ValueError, match=r"c\.json: data\.planted\.users: expected at least 10, got 3"):
        from_json('{"data": {"planted_users": 3}}', source="c.json")


def test_a_config_of_a_version_in_which_strategies_shared_settings_is_read():
    shared = {"cost_weight": 0.3, "dynamic": False, "tau_start": 0.5, "tau_decay": 0.001, "tau_min": 0.1}
    search = SearchConfig(
        epochs=7, easrec=EasrecConfig(**shared), proxyless=ProxylessConfig(0.3), recnas=RecnasConfig(0.5, 0.1)
    )
    older = json.dumps({"search": {"epochs": 7} | shared})
    assert from_json(older) == Config(search=search) and from_json(to_json(from_json(older))) == from_json(older)
    assert from_json('{"search": {"tau_min": 0.1}}').search.recnas == RecnasConfig(tau_min=0.1)
    with pytest.raises(ValueError, match=r"c\.json: search\.easrec\.tau_min: expected a number above 0, got 0\.0"):
        from_json('{"search": {"tau_min": 0}}', source="c.json")
    with pytest.raises(ValueError, match=r"c\.json: search: unknown fields \['tau_min'\]"):
        from_json('{"search": {"tau_min": 0.1, "recnas": {"tau_min": 0.2}}}', source="c.json")
