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
    paths = {
        "training, SASRec": "train.sasrec", "training, model": "train.model",
        "inference, SASRec": "inference.sasrec", "inference, model": "inference",
    }  # fmt: skip
    paths = {label: key for label, key in paths.items() if f"{key}.gflops" in figures}
    if paths:
        roofline(figures, paths, folder / "roofline.png")


def roofline(figures: dict, paths: dict[str, str], file: Path) -> None:
    """Achieved GFLOP/s over FLOPs a byte, under the two measured ceilings; hollow: the path's own products alone."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    peak, bandwidth = figures["limits.gflops"], figures["limits.gbytes_per_s"]
    intensity = np.geomspace(1, 300, 100)
    axis.loglog(
        intensity, np.minimum(peak, bandwidth * intensity), color="black", label="machine, measured in this run"
    )
    for number, (label, key) in enumerate(paths.items()):
        rate, fraction = figures[f"{key}.gflops"], figures[f"{key}.fraction_of_limit"]
        x, color = figures[f"{key}.flops_per_byte"], f"C{number}"
        axis.plot([x, x], [rate, rate / fraction], color=color, linestyle=":")
        axis.plot(x, rate, "o", color=color, label=f"{label}: {fraction:.0%} of its limit")
        axis.plot(x, rate / fraction, "o", color=color, fillstyle="none")
    axis.set(xlabel="FLOPs a byte that the products move", ylabel="GFLOP/s, counted on real events")
    axis.legend(fontsize=8, loc="lower right")
    axis.grid(alpha=0.3, which="both")
    figure.savefig(file, dpi=120)
    plt.close(figure)
