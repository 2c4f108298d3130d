"""Sparse data: tens of thousands of items, some ten events a user. Start here; beauty.py and video.py are this on known files.

    python bin/retrain.py configs/sparse.py --data.path FILE

For catalogues beyond some 10^5 items: --retrain.loss sampled --retrain.batch_size 24 --retrain.learning_rate 0.003 --retrain.epochs 12.

Device: two CPU cores, shared. Minutes: 11 of CPU time on Amazon Beauty. Peak memory: 1.2 GB.
Score on Amazon Beauty: test Recall@10 / NDCG@10 .0918 / .0564 by `full_unseen`, one seed, below the field's best
(docs/results/field.md).
"""

from easrec_jax.config import Config, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    model=ModelConfig(width=128, inner=256, layers=1, heads=4, max_length=50, dropout=0.5),
    search=SearchConfig(prune=(0.0,)),
    retrain=RetrainConfig(architecture="full", epochs=20, batch_size=64, learning_rate=0.001),
    evaluate=EvaluateConfig(protocols=("full_unseen", "full"), select_by="full_unseen", batch_size=128),
)
