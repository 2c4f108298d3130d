"""Amazon Video Games (SASRec's and LRURec's file: 31,013 users, 23,715 items, 287,107 interactions) by sparse.py, unchanged.

    python bin/retrain.py configs/video.py --data.path Video.txt

Device: CPU, two cores. Minutes: not measured. Peak memory: not measured.
Score: not measured.
"""

from dataclasses import replace
from pathlib import Path
from runpy import run_path

from easrec_jax.config import DataConfig

sparse = run_path(str(Path(__file__).with_name("sparse.py")))["config"]
config = replace(sparse, data=DataConfig(path="catalog:amazon-video-games", format="pairs"))
