"""Planted data, a student of two cells found and trained with a NextItNet teacher: search, retrain, recommend.

    python bin/search.py configs/adarec_demo.py && python bin/retrain.py configs/adarec_demo.py

Device: two CPU cores, shared. Minutes: 2 for teacher and search, 1 for the student. Peak memory: 1.4 GB.
Score: test NDCG@10 by `full`, one seed: .3842 at 1.5 MFLOPs; popularity .0896, the process behind the data .4855.

The first command trains the teacher (`runs/adarec_demo/teacher/`) and then searches. Smaller than adarec_ml1m.py in all sizes, and
too short for a good student: twice the epochs and cells are in docs/results/adarec.md.
"""

from easrec_jax.config import (
    AdarecConfig,
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RetrainConfig,
    SearchConfig,
)

config = Config(
    data=DataConfig(planted=PlantedConfig(users=3000, items=400)),
    model=ModelConfig(width=32, layers=2, heads=4, max_length=40, dropout=0.1),
    search=SearchConfig(
        strategy="adarec",
        epochs=8,
        warmup_epochs=2,
        batch_size=32,
        buckets=1,
        learning_rate=0.003,
        arch_learning_rate=0.01,
        budget=0.6,
        adarec=AdarecConfig(cost_weight=0.3, tau_epochs=2),
    ),
    distill=DistillConfig(share=0.5, teacher="nextitnet", width=64, layers=3, epochs=8, learning_rate=0.003),
    retrain=RetrainConfig(epochs=12, batch_size=32, buckets=2, learning_rate=0.003, baselines=("popularity",)),
    evaluate=EvaluateConfig(select_by="full", buckets=1),
)
