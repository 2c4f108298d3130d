"""MovieLens-1M, AdaRec: a student of four cells, width 64, found and trained with a NextItNet teacher of width 256.

    python bin/search.py  configs/adarec_ml1m.py --data.path ml-1m.txt
    python bin/retrain.py configs/adarec_ml1m.py --data.path ml-1m.txt

Device: a GPU, or CPU cores and patience. Minutes: not measured. Peak memory: not measured.
Score: not measured.

Sizes are those of the published search (arXiv 2107.07173); the data, their protocol and the alternating steps are this library's.
"""

from easrec_jax.config import (
    AdarecConfig,
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    ModelConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(width=64, layers=4, heads=4, max_length=200, dropout=0.1),
    search=SearchConfig(
        strategy="adarec",
        epochs=20,
        warmup_epochs=4,
        batch_size=32,
        learning_rate=0.003,
        arch_learning_rate=0.003,
        budget=0.6,
        adarec=AdarecConfig(cost_weight=0.3),
    ),
    distill=DistillConfig(share=0.5, teacher="nextitnet", width=256, layers=8, epochs=30, learning_rate=0.001),
    retrain=RetrainConfig(epochs=30, batch_size=32, learning_rate=0.001, clip_norm=5.0, weight_decay=0.0005),
    evaluate=EvaluateConfig(select_by="pop100"),
)
