"""MovieLens-100k at the paper's sizes for ML-1M, and SASRec beside it.

    python bin/search.py  configs/ml100k.py --data.path ml-100k.inter
    python bin/retrain.py configs/ml100k.py --data.path ml-100k.inter

Device: CPU. Minutes, peak memory, score: not measured with these numbers of epochs. Nearest is EASRec in Table III of docs/results.md,
with 16 epochs of search in place of 24 and 6 of each finalist in place of 8, by an earlier version: 6 to 9 minutes on one core, 2.4 to
4.3 GB, test NDCG@10 .2591 by `pop100`, five seeds.

Reduced for two CPU cores by the rule of ml1m.py; an epoch is a tenth of ML-1M's, so there are more of them.
"""

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    RecnasConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(path="catalog:ml-100k"),
    model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, dropout=0.3),
    search=SearchConfig(
        epochs=24,
        warmup_epochs=12,
        batch_size=8,
        learning_rate=0.002,
        arch_learning_rate=0.03,
        budget=0.14,
        finalist_epochs=8,
        easrec=EasrecConfig(tau_start=0.2, tau_decay=0.0003, tau_min=0.1),
        recnas=RecnasConfig(tau_start=0.2, tau_min=0.1),
    ),
    retrain=RetrainConfig(
        epochs=30,
        batch_size=8,
        learning_rate=0.003,
        baseline_learning_rate=0.002,
        baselines=("popularity", "sasrec"),
    ),
    evaluate=EvaluateConfig(select_by="pop100"),
)
