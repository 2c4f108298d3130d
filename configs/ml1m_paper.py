"""MovieLens-1M in the paper's own mode: bidirectional linrec, one sample a prefix, batches of 1024 and 2048 (Table II).

    python bin/search.py  configs/ml1m_paper.py --data.path ml-1m.txt
    python bin/retrain.py configs/ml1m_paper.py --data.path ml-1m.txt

Device: made for a GPU, 981,491 prefix samples an epoch. Minutes, peak memory, score: not measured, it has not been run.
"""

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(path="catalog:ml-1m", targets="last"),
    model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, attention="linrec"),
    search=SearchConfig(
        epochs=100,
        batch_size=1024,
        buckets=1,
        learning_rate=0.001,
        finalists=1,
        warmup_epochs=0,
        easrec=EasrecConfig(cost_weight=0.1),
    ),
    retrain=RetrainConfig(
        epochs=100, batch_size=2048, buckets=1, learning_rate=0.001, schedule="constant", warmup_steps=0
    ),
    evaluate=EvaluateConfig(select_by="pop100"),
)
