"""RecBole's SASRec on the same file and sizes, in an environment of its own; run.py --rival PYTHON calls this.

    PYTHON rival.py ml-1m.txt      (`user item` a line; that Python has RecBole 1.2.1 and PyTorch, nothing of this project)

Prints one JSON object: preparation, training samples a second, everyone's top 10, one user, peak memory.
"""

import functools
import json
import logging
import resource
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path

BATCH, STEPS, CALLS = 256, 5, 100


def prepare(source: Path, folder: Path) -> dict:
    """The file in RecBole's form (the place in the history is the time), and the settings of `configs/ml1m_sasrec.py`."""
    data = folder / "rival"
    data.mkdir()
    places: dict[str, int] = {}
    with source.open() as file, (data / "rival.inter").open("w") as out:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for line in file:
            user, item = line.split()
            places[user] = places.get(user, 0) + 1
            out.write(f"{user}\t{item}\t{places[user]}\n")
    return {
        "data_path": str(folder), "use_gpu": False, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 200, "hidden_size": 128, "inner_size": 256, "n_layers": 2, "n_heads": 4,
        "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2, "train_neg_sample_args": None, "train_batch_size": BATCH,
        "eval_batch_size": 2048, "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10", "show_progress": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    }  # fmt: skip


def seconds(call) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def command() -> None:
    try:
        import ray.tune  # noqa: F401
    except ImportError:  # RecBole imports it for its parameter search, which is not used here
        sys.modules["ray"], sys.modules["ray.tune"] = types.ModuleType("ray"), types.ModuleType("ray.tune")
        sys.modules["ray"].tune = sys.modules["ray.tune"]
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec

    logging.disable(logging.WARNING)
    torch.load = functools.partial(torch.load, weights_only=False)
    sys.argv = sys.argv[:1] + sys.argv[1:2]
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(Path(sys.argv[1]), Path(folder))
        sys.argv = sys.argv[:1]  # RecBole reads the command line itself
        config = Config(model="SASRec", dataset="rival", config_dict=settings)
        begun = time.perf_counter()
        train, _, test = data_preparation(config, create_dataset(config))
        prepared = time.perf_counter() - begun
        model = SASRec(config, train.dataset)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        times = []
        for number, batch in enumerate(train):
            if number > STEPS:
                break

            def step(batch=batch) -> None:
                optimizer.zero_grad()
                model.calculate_loss(batch).backward()
                optimizer.step()

            times.append(seconds(step))
        model.eval()
        with torch.no_grad():
            users, begun = 0, time.perf_counter()
            for batch in test:
                events = batch[0]
                hidden = model.forward(events["item_id_list"], events["item_length"])
                (hidden @ model.item_embedding.weight.T).topk(10)
                users += len(events)
            rate = users / (time.perf_counter() - begun)
            one = events[0:1]
            calls = [seconds(lambda: model.full_sort_predict(one).topk(10)) for _ in range(CALLS)]
    figures = {
        "rival.prepare_s": prepared,
        "rival.train_samples_per_s": BATCH / statistics.median(times[1:]),
        "rival.users_per_s": rate,
        "rival.one_user_p50_ms": 1e3 * statistics.median(calls),
        "rival.peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    command()
