"""MovieLens-1M in a wide space: width, depth, heads, gates and attention chosen freely, and each layer's inner size.

    python bin/search.py  configs/ml1m_wide.py --data.path ml-1m.txt
    python bin/retrain.py configs/ml1m_wide.py --data.path ml-1m.txt

5,760 networks, of which the budget admits those of at most half of the FLOPs of a SASRec of inner size 256 (80.8 million).
Reduced for two CPU cores by the rule
of ml1m.py.
"""

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(width=128, inner=512, layers=4, heads=4, max_length=200, dropout=0.3),
    search=SearchConfig(
        prune=(0.0, 0.125, 0.25, 0.5),
        inner_prune=(0.0, 0.5, 0.75),
        heads=(4, 8),
        gate_layers=(0, 1, 2),
        attentions=("recent_linrec", "causal_linrec"),
        epochs=10,
        warmup_epochs=4,
        batch_size=16,
        learning_rate=0.002,
        arch_learning_rate=0.03,
        budget=0.097,
        finalist_epochs=4,
    ),
    retrain=RetrainConfig(epochs=26, batch_size=16, learning_rate=0.003),
    evaluate=EvaluateConfig(select_by="pop100"),
)
