"""MovieLens-1M, one elastic network of the paper's sizes: widths 128, 96, 64 and depths 1 to 4, trained once.

    python bin/search.py  configs/elastic_ml1m.py --data.path ml-1m.txt
    python bin/retrain.py configs/elastic_ml1m.py --data.path ml-1m.txt --retrain.architecture elastic

Device: two CPU cores. Minutes: not measured. Peak memory: not measured.
Score: not measured.
"""

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, dropout=0.3),
    search=SearchConfig(
        strategy="untrained",
        sharing="corners",
        training="sandwich",
        ranking="measured",
        finalists=1,
        epochs=16,
        warmup_epochs=5,
        patience=16,
        batch_size=16,
        buckets=4,
        learning_rate=0.003,
        schedule="cosine",
    ),
    retrain=RetrainConfig(epochs=26, batch_size=16, learning_rate=0.003),
    evaluate=EvaluateConfig(select_by="pop100"),
)
