"""The two pictures of a speed run: growth over N, and where each path stands under the roofline."""

from pathlib import Path


def draw(figures: dict, folder: Path) -> None:
    """scaling.png and roofline.png, as far as the figures are there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    if "scaling.lengths" in figures:
        figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        lengths = figures["scaling.lengths"]
        for axis, unit, title in ((axes[0], "s", "seconds"), (axes[1], "mb", "MB of temporaries")):
            for name in ("model", "sasrec"):
                for what, style in (("train", "o-"), ("infer", "s--")):
                    values = figures[f"scaling.{name}.{what}_{unit}"]
                    label = f"{name}, {what}: N^{figures[f'scaling.{name}.{what}_{unit}_exponent']:.2f}"
                    axis.loglog(lengths[: len(values)], values, style, label=label)
            axis.set(xlabel="N, events", ylabel=title, title=f"one sequence: {title}")
            axis.legend(fontsize=8)
            axis.grid(alpha=0.3)
        figure.savefig(folder / "scaling.png", dpi=120)
        plt.close(figure)
    points = {
        "training, SASRec": "train.sasrec", "training, model": "train.model",
        "inference, SASRec": "inference.sasrec", "inference, model": "inference",
    }  # fmt: skip
    rates = {label: figures[f"{key}.gflops"] for label, key in points.items() if f"{key}.gflops" in figures}
    if rates:
        figure, axis = plt.subplots(figsize=(7, 0.6 * len(rates) + 1.4), layout="constrained")
        axis.barh(list(rates), list(rates.values()))
        for row, rate in enumerate(rates.values()):
            axis.text(rate, row, f"  {rate / figures['limits.gflops']:.0%}", va="center")
        axis.axvline(figures["limits.gflops"], color="black", linestyle="--", label="best matrix product")
        axis.set(xlabel="GFLOP/s counted on real events", title="achieved over the machine's limit")
        axis.legend(fontsize=8)
        figure.savefig(folder / "roofline.png", dpi=120)
        plt.close(figure)
