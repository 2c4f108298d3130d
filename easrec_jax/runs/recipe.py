"""Settings chosen by what the data are: how many users and items, how long histories, how often an item is seen.

The rules are made from what was measured on MovieLens, Amazon Beauty and planted data (docs/results/field.md); all are of one
layer of recent linrec with gates, which a search may improve on. Nothing here looks at an event, only at counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from easrec_jax.config import Config

LENGTHS = (20, 50, 100, 200)  # histories that a model reads, events
SPARSE = 20.0  # events a user, on average, below which data are sparse
STEPS = 7_000  # of training
MOST_SCORED = 50_000  # items, above which a softmax over all of them takes too long
FEW, SMALL = 50_000, 150_000  # events below which a network is half as wide, and batches are half as large
JUDGES = 20_000  # users whose validation items choose the epoch, where there are many


def choose_settings(config: Config, lengths: np.ndarray, num_items: int) -> Config:
    """The config with `model`, `retrain` and `evaluate` for users of `lengths` events each, int [users], and so many items."""
    events, users = int(lengths.sum()), len(lengths)
    sparse, scored = events / users < SPARSE, num_items <= MOST_SCORED
    longest = next((n for n in LENGTHS if n >= np.quantile(lengths, 0.95)), LENGTHS[-1])
    positions = (3_200 if events >= SMALL else 1_600) if scored else 1_200
    batch = max(positions // longest, 1)
    steps_an_epoch = -(-int(np.ceil(np.maximum(lengths - 2, 1) / longest).sum()) // batch)
    epochs = int(np.clip(round(STEPS / steps_an_epoch), 4, 40))
    narrow = events < FEW
    model = replace(
        config.model, width=64 if narrow else 128, inner=128 if narrow else 256, heads=2 if narrow else 4, layers=1,
        max_length=longest, dropout=0.5 if sparse else 0.3,
    )  # fmt: skip
    retrain = replace(
        config.retrain, architecture="full", loss="full" if scored else "sampled", batch_size=batch, epochs=epochs,
        learning_rate=0.001 if sparse and scored else 0.003,
    )  # fmt: skip
    evaluate = replace(
        config.evaluate, protocols=("full_unseen", "full"), select_by="full_unseen", batch_size=max(6_400 // longest, 1),
        users=JUDGES if users > 2 * JUDGES else 0,
    )  # fmt: skip
    return replace(config, model=model, retrain=retrain, evaluate=evaluate)


def describe_settings(config: Config, lengths: np.ndarray) -> str:
    """What was chosen and by what, in two lines."""
    model, retrain = config.model, config.retrain
    mean, long = lengths.mean(), int(np.quantile(lengths, 0.95))
    loss = "all items" if retrain.loss == "full" else f"{retrain.negatives} negatives"
    return (
        f"settings for {mean:.1f} events a user, 95 % of users with at most {long}: "
        f"--model.width {model.width} --model.max_length {model.max_length} --model.dropout {model.dropout}\n"
        f"  --retrain.epochs {retrain.epochs} --retrain.batch_size {retrain.batch_size} --retrain.learning_rate "
        f"{retrain.learning_rate}, softmax over {loss}; any flag of retrain changes them"
    )
