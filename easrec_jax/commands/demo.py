"""The demo in one command: search, retrain and recommend on planted data, made in memory; 3 to 8 minutes on two cores.

Stopped, it goes on where it was when it is started again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from easrec_jax.config_files import find_config
from easrec_jax.runs.cli import fail

HISTORY = "m3 i17 i250"
STEPS = (
    ("search a small network under a FLOPs budget", "search", ["demo"]),
    ("train it further, with SASRec beside it", "retrain", ["demo"]),
    (f"recommend after the history {HISTORY}", "recommend", ["runs/demo/model", "--history", HISTORY, "--k", "10"]),
)


def command() -> int:
    """Run the steps, each as a process; the exit status of the first that fails, or 0."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(f"{__doc__}\nIt takes no arguments; what it runs does:")
        for title, name, arguments in STEPS:
            print(f"  {typed(name, arguments)}    # {title}")
        return 0
    if sys.argv[1:]:
        fail(f"the demo takes no arguments, got {sys.argv[1]!r}")
    for number, (title, name, arguments) in enumerate(STEPS, 1):
        print(f"[{number}/{len(STEPS)}] {title}: {typed(name, arguments)}", flush=True)
        arguments = [str(find_config(word)) if word == "demo" else word for word in arguments]
        more = ["--resume"] if name != "recommend" else []
        program = [sys.executable, "-m", "easrec_jax.commands.easrec", name]
        done = subprocess.run([*program, *arguments, *more])
        if done.returncode:
            return done.returncode
    report, serve = typed("report", ["runs/demo"]), typed("serve", ["runs/demo/model"])
    print(f"the model is in runs/demo/model; next: {report}, {serve}")
    return 0


def typed(name: str, arguments: list[str]) -> str:
    """How a command is typed by who typed this one: `easrec search demo`, or `python bin/search.py configs/demo.py`."""
    installed = Path(sys.argv[0]).suffix != ".py"
    words = [f"configs/{word}.py" if word == "demo" and not installed else word for word in arguments]
    words = [f'"{word}"' if " " in word else word for word in words]
    return " ".join([f"easrec {name}" if installed else f"python bin/{name}.py", *words])
