"""MovieLens-100k at the paper's sizes for ML-1M, and SASRec beside it.

python bin/search.py  configs/ml100k.py --data.path ml-100k.inter
python bin/retrain.py configs/ml100k.py --data.path ml-100k.inter
"""

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

config = Config(
    data=DataConfig(path="catalog:ml-100k"),
    model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200),
    search=SearchConfig(epochs=10, batch_size=8, learning_rate=0.002, arch_learning_rate=0.1, budget=0.14),
    retrain=RetrainConfig(epochs=30, batch_size=8, learning_rate=0.003, baselines=("popularity", "sasrec")),
    evaluate=EvaluateConfig(select_by="pop100"),
)
