"""Planted data, one elastic network: trained once, every width and depth of it good as it stands.

    python bin/search.py  configs/elastic_demo.py
    python bin/retrain.py configs/elastic_demo.py --retrain.architecture elastic

Device: two CPU cores, shared. Minutes: 3 for the search. Peak memory: 1.4 GB.
Score: test NDCG@10 by `full`, one seed, as it stands: .4679 to .4790 for the sizes of the front, .4815 for the largest; on validation
items docs/results/elastic.md.
"""

from easrec_jax.config import (
    Config,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(planted=PlantedConfig(users=3000, items=400)),
    model=ModelConfig(width=64, inner=128, layers=3, heads=4, max_length=40),
    search=SearchConfig(
        strategy="untrained",
        sharing="corners",
        training="sandwich",
        ranking="measured",
        finalists=1,
        epochs=24,
        warmup_epochs=8,
        patience=24,
        batch_size=32,
        buckets=2,
        learning_rate=0.003,
        schedule="cosine",
    ),
    retrain=RetrainConfig(epochs=12, batch_size=32, buckets=2, learning_rate=0.003),
    evaluate=EvaluateConfig(select_by="full", buckets=1),
)
