"""The demo in one command: search, retrain and recommend on planted data, made in memory; 3 to 8 minutes on two cores.

Stopped, it goes on where it was when it is started again.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HISTORY = "m3 i17 i250"
STEPS = (
    ("search a small network under a FLOPs budget", ["bin/search.py", "configs/demo.py"]),
    ("train it further, with SASRec beside it", ["bin/retrain.py", "configs/demo.py"]),
    (
        f"recommend after the history {HISTORY}",
        ["bin/recommend.py", "runs/demo/model", "--history", HISTORY, "--k", "10"],
    ),
)


def main() -> int:
    if len(sys.argv) > 1:
        print(f"{__doc__}\nIt takes no arguments; what it runs does:")
        for title, (program, *arguments) in STEPS:
            print(f"  python {program} {' '.join(arguments)}    # {title}")
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    for number, (title, (program, *arguments)) in enumerate(STEPS, 1):
        print(f"[{number}/{len(STEPS)}] {title}: python {program} {' '.join(arguments)}", flush=True)
        more = ["--resume"] if program != "bin/recommend.py" else []
        arguments = [str(ROOT / word) if word.startswith("configs/") else word for word in arguments]
        done = subprocess.run([sys.executable, ROOT / program, *arguments, *more])
        if done.returncode:
            return done.returncode
    print("the model is in runs/demo/model; next: python bin/report.py runs/demo, python bin/serve.py runs/demo/model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
