"""Sparse data: tens of thousands of items, some ten events a user. Start here; beauty.py and video.py are this on known files.

    python bin/retrain.py configs/sparse.py --data.path FILE

Device: CPU, two cores. Minutes: not measured. Peak memory: not measured.
Score: not measured.
"""

from easrec_jax.config import Config, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    model=ModelConfig(width=128, inner=256, layers=1, heads=4, max_length=50, dropout=0.5),
    search=SearchConfig(prune=(0.0,)),
    retrain=RetrainConfig(architecture="full", epochs=8, batch_size=24, learning_rate=0.002),
    evaluate=EvaluateConfig(protocols=("full_unseen", "full"), select_by="full_unseen", batch_size=128),
)
