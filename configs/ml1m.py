"""MovieLens-1M at the paper's sizes (Table II: d 128, D 256, L 4, H 4, N 200, candidates 0/25/50 %), recent linrec.

    python bin/search.py  configs/ml1m.py --data.path ml-1m.txt
    python bin/retrain.py configs/ml1m.py --data.path ml-1m.txt

Device: CPU, shared with other jobs. Minutes: 22 for the search, 47 for the pick from scratch on one core. Peak memory: 2.4 GB and 1.0 GB.
Score: test NDCG@10 by `pop100` .4737 from scratch, one seed; .4739 with weights from the search, three seeds of one search, by an
earlier version (docs/results/movielens-1m.md).

Budget: 0.14 of the largest network's FLOPs of a request (its last layer at the last position alone) is about half of SASRec's (2
softmax layers of width 128: 0.271); `--search.cost flops_all` counts all layers at all positions, where one layer is no bargain.
Reduced for two CPU cores by this rule: f = 5, few epochs of all interactions (a loss at every position does in one of
them the work of 163 prefix samples a user), Adam at 0.002 and 0.003 rather than 0.001, and the temperature falls from
0.2 to 0.1 in the first 333 steps, so that nearly every step trains one network of the supernet alone. The first half of
the search is weight steps only.
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
    data=DataConfig(path="catalog:ml-1m"),
    model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, dropout=0.3),
    search=SearchConfig(
        epochs=10,
        warmup_epochs=5,
        batch_size=16,
        learning_rate=0.002,
        arch_learning_rate=0.03,
        budget=0.14,
        finalist_epochs=4,
        easrec=EasrecConfig(tau_start=0.2, tau_decay=0.0003, tau_min=0.1),
        recnas=RecnasConfig(tau_start=0.2, tau_min=0.1),
    ),
    retrain=RetrainConfig(epochs=26, batch_size=16, learning_rate=0.003),
    evaluate=EvaluateConfig(select_by="pop100"),
)
