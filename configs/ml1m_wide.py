"""MovieLens-1M in a wide space: width, depth, heads, gates and attention chosen freely, and each layer's inner size.

    python bin/search.py  configs/ml1m_wide.py --data.path ml-1m.txt
    python bin/retrain.py configs/ml1m_wide.py --data.path ml-1m.txt

Device: CPU. Minutes: 27 for the search on one core; the retraining was not measured. Peak memory of the search: 2.3 GB.
Score: test NDCG@10 .4725 by `pop100`, .1516 by `full`, three seeds of one search, by an earlier version (docs/results/movielens-1m.md).

7,200 networks, of which the budget admits those of at most three quarters of the FLOPs of ml1m.py's pick (1 x 128/256, 8.6
million): it asks how much cheaper the same accuracy can be had. For 8.6 million: --search.budget 0.0207. Reduced for two CPU
cores by the rule of ml1m.py.
"""

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(width=128, inner=512, layers=4, heads=4, max_length=200, dropout=0.3),
    search=SearchConfig(
        prune=(0.0, 0.125, 0.1875, 0.25, 0.5),
        inner_prune=(0.0, 0.5, 0.75),
        heads=(4, 8),
        gate_layers=(0, 1, 2),
        attentions=("recent_linrec", "causal_linrec"),
        epochs=10,
        warmup_epochs=4,
        batch_size=16,
        learning_rate=0.002,
        arch_learning_rate=0.03,
        budget=0.0155,
        finalist_epochs=4,
    ),
    retrain=RetrainConfig(epochs=26, batch_size=16, learning_rate=0.003),
    evaluate=EvaluateConfig(select_by="pop100"),
)
