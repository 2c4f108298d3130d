"""Amazon Beauty (S3-Rec's file: 22,363 users, 12,101 items, 198,502 interactions) by the recipe of sparse.py, unchanged.

    python bin/retrain.py configs/beauty.py --data.path Beauty.txt

Device: two CPU cores, shared. Minutes: 11 of CPU time. Peak memory: 1.2 GB.
Score: test Recall@10 / NDCG@10 .0918 / .0564 by `full_unseen`, one seed (docs/results/field.md), which is below the field's best.
"""

from dataclasses import replace
from pathlib import Path
from runpy import run_path

from easrec_jax.config import DataConfig

sparse = run_path(str(Path(__file__).with_name("sparse.py")))["config"]
config = replace(sparse, data=DataConfig(path="catalog:amazon-beauty", format="lists"))
