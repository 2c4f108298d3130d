"""SASRec on MovieLens-1M by the same code and effort as ml1m.py: 2 softmax layers, no gates, trained from scratch.

    python bin/retrain.py configs/ml1m_sasrec.py --data.path ml-1m.txt

Device: CPU. Minutes: not measured as a whole; an epoch takes 22 s on two cores alone (docs/results/speed.md). Peak memory: not measured.
Score: test NDCG@10 .4725 by `pop100`, .1449 by `full`, three seeds, by an earlier version (docs/results/movielens-1m.md).

The learning rate is a third of ml1m.py's: at 0.003 one of two seeds did not leave the plateau (docs/results/movielens-1m.md).
"""

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(
        width=128, inner=256, layers=2, heads=4, max_length=200, attention="softmax", gate_layers=0, dropout=0.3
    ),
    search=SearchConfig(prune=(0.0,)),
    retrain=RetrainConfig(architecture="full", epochs=26, batch_size=16, learning_rate=0.001),
    evaluate=EvaluateConfig(select_by="pop100"),
)
