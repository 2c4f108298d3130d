"""Amazon Beauty (S3-Rec's file: 22,363 users, 12,101 items, 198,502 interactions) by the recipe of sparse.py, unchanged.

    python bin/retrain.py configs/beauty.py --data.path Beauty.txt

Device: CPU, two cores. Minutes: not measured. Peak memory: not measured.
Score: not measured.
"""

from dataclasses import replace
from pathlib import Path
from runpy import run_path

from easrec_jax.config import DataConfig

sparse = run_path(str(Path(__file__).with_name("sparse.py")))["config"]
config = replace(sparse, data=DataConfig(path="catalog:amazon-beauty", format="lists"))
