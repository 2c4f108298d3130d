"""Planted data, a small supernet: search, retrain, recommend in a few minutes.

    python bin/search.py configs/demo.py && python bin/retrain.py configs/demo.py

Device: two CPU cores. Minutes: 3 to 8 with installation and a recommendation. Peak memory: not measured.
Score: test NDCG@10 .4679 by `full`, .5366 by `pop100`, one seed; SASRec .4805 and .5547 (README.md).
"""

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RecnasConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(planted=PlantedConfig(users=3000, items=400)),
    model=ModelConfig(width=64, inner=128, layers=2, heads=4, max_length=40),
    search=SearchConfig(
        epochs=6,
        warmup_epochs=3,
        batch_size=32,
        buckets=1,
        learning_rate=0.003,
        arch_learning_rate=0.03,
        budget=0.5,
        finalist_epochs=6,
        easrec=EasrecConfig(tau_start=0.5, tau_decay=0.001, tau_min=0.1),
        recnas=RecnasConfig(tau_start=0.5, tau_min=0.1),
    ),
    retrain=RetrainConfig(epochs=12, batch_size=32, buckets=2, learning_rate=0.003, baselines=("popularity", "sasrec")),
    evaluate=EvaluateConfig(select_by="full", buckets=1),
)
