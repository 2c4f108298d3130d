"""docs/front.png: NDCG@10 of MovieLens-1M over the cost of a request, from kept files; published figures as lines.

python benchmarks/front.py
"""

import json
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PROTOCOL = "full_unseen"
EARLIER = ("SASRec, 2 layers (ours, an earlier version)", 80.8, 0.1969)  # docs/results/movielens-1m.md has its runs


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = json.loads((DOCS / "results" / "ml-1m-cpu" / "headline.json").read_text())["rows"]
    published = json.loads((DOCS / "results" / "published.json").read_text())["ml-1m"]
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for row, mark in zip(rows, "os^D", strict=False):
        cost, ndcg = row["flops"] / 1e6, row[f"{PROTOCOL} ndcg@10"]
        axis.errorbar(cost, ndcg, row[f"{PROTOCOL} ndcg@10 sd"], fmt=mark, markersize=9, capsize=4)
        axis.annotate(f"{row['model']} (ours)", (cost, ndcg), (9, 6), textcoords="offset points")
    name, cost, ndcg = EARLIER
    axis.plot(cost, ndcg, "o", color="black", fillstyle="none", markersize=9)
    axis.annotate(name, (cost, ndcg), (-9, 6), textcoords="offset points", ha="right")
    for one in published:
        height, label = one["ndcg@10"], f"{one['model']} (published)"
        axis.axhline(height, color="grey", linestyle="--", linewidth=1)
        style = {"ha": "right", "va": "bottom", "color": "dimgrey", "transform": axis.get_yaxis_transform()}
        axis.text(0.99, height, label, **style)
    axis.set(xscale="log", xlim=(5, 120), ylim=(0.165, 0.222))
    axis.set(xlabel="MFLOPs a request (log scale)", ylabel=f"NDCG@10, {PROTOCOL}, test items")
    axis.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    axis.minorticks_off()
    axis.set_title("MovieLens-1M; cost is known of our networks alone")
    figure.savefig(DOCS / "front.png", dpi=100)


if __name__ == "__main__":
    main()
