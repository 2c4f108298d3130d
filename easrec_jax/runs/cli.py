"""What the commands share: a config file and its flags, one-line errors, the live progress line."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro

from easrec_jax.config import Config, MeshConfig
from easrec_jax.config_files import load_config, names_of_today, own_configs
from easrec_jax.data.interactions import Interactions
from easrec_jax.memory import use_huge_pages
from easrec_jax.runs.workdir import MetricsLog

CACHE_BYTES = 512 << 20  # of compiled programs
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # so begins what XLA says
LESS_MEMORY = (
    "smaller batches need less (--search.batch_size, --retrain.batch_size, --evaluate.batch_size, --limits.batch of serve), "
    "so do a shorter --model.max_length and, with many items, --retrain.loss sampled"
)
FROM = re.compile(r"^--retrain\.from(?=$|=)")  # a field cannot have this name, a flag can


@dataclass(frozen=True)
class RunArguments:
    """The flags of a command that runs a config."""

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    workdir: Path | None = None
    """Where the run lives (default: runs/NAME, NAME being the config file's)."""
    resume: bool = False
    """Continue from the last checkpoint, exactly."""
    overwrite: bool = False
    """Delete what an earlier run left there."""


def run_arguments(description: str, *, meshes: bool = False) -> tuple[RunArguments, Path]:
    """Parse `CONFIG [--flags]`: the config with its flags applied, and the run's folder. `meshes` as in `with_flags`."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("-h", "--help"):
            default, name = Config(), "NAME"
        else:
            known = ", ".join(own_configs())
            fail(f"expected a config first: {program} CONFIG [--flags], CONFIG being a file or one of {known}")
    else:
        default, name = load_config(arguments[0]), Path(arguments[0]).stem
        arguments = arguments[1:]
    parsed = with_flags(default, arguments, f"{program} CONFIG", description, meshes=meshes)
    return parsed, parsed.workdir or Path("runs") / name


def with_flags(
    default: Config, arguments: list[str], program: str, description: str, *, meshes: bool = False
) -> RunArguments:
    """The config with these flags applied; help and mistakes end the process. `meshes`: the command knows several devices."""
    _check_names(arguments)
    parsed = tyro.cli(
        RunArguments,
        args=[FROM.sub("--retrain.from_model", word) for word in arguments],
        default=RunArguments(default),
        description=description,
        prog=program,
        config=(tyro.conf.HelptextFromCommentsOff,),
        use_underscores=True,
    )
    _check_rivals(parsed.config)
    if parsed.config.mesh.devices > 1:
        if not meshes:
            fail(f"--mesh.data, --mesh.items: expected 1 and 1, {program.split()[0]} computes on one device")
        _join(parsed.config.mesh)
    return parsed


def _join(mesh: MeshConfig) -> None:
    """Find the other processes of the run, if it has any; all but the first are silent."""
    from easrec_jax.parallel.processes import is_writer, start

    start(mesh)
    check_platform()
    if not is_writer():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends


def _check_names(arguments: list[str]) -> None:
    """A flag of an older version becomes one line that names today's."""
    for flag in [word.partition("=")[0] for word in arguments if word.startswith("--")]:
        part, _, field = flag.removeprefix("--").replace("-", "_").partition(".")
        no = "no_" if field.startswith("no_") else ""
        older = f"{part}.{field.removeprefix(no)}"
        if (now := names_of_today(older)) != (older,):
            split = [name.rpartition(".") for name in now]
            new = " or ".join(f"--{where}.{no}{name}" for where, _, name in split)
            fail(f"expected {new}, got {flag}, its name in older versions")


def _check_rivals(config: Config) -> None:
    """Before a search, not after it: rivals know themselves what they need."""
    if config.retrain.baselines:
        from easrec_jax.models.rival import check_rival

        for name in config.retrain.baselines:
            check_rival(name, config)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def first_line(error: Exception) -> str:
    """The first line of an error, for a message that holds it."""
    return str(error).partition("\n")[0][:200]


def main(command: Callable[[], Any]) -> NoReturn:
    """Run a command: user mistakes become one line, warnings too; EASREC_TRACEBACK=1 shows where they arose."""
    use_huge_pages()
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        setup_jax()
        status = command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("EASREC_TRACEBACK"):
            raise
        other = "; other settings are another run: --overwrite, or another --workdir"
        fail(f"{error}{other if isinstance(error, FloatingPointError) else ''}")
    except (RuntimeError, MemoryError) as error:
        if os.environ.get("EASREC_TRACEBACK"):
            raise
        if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
            (_leave if _of_several() else fail)(f"out of memory: {first_line(error)}; {LESS_MEMORY}")
        if not _of_several():
            raise
        _leave(f"the run has lost a process, or its connection ({first_line(error)}); start all again with --resume")
    raise SystemExit(status or 0)


@contextlib.contextmanager
def pictures() -> Iterator[None]:
    """Around what draws: pictures are an extra, and without it a line says so and the run goes on."""
    try:
        yield
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)


def setup_jax() -> None:
    """A device or a clear word that there is none, float32 whatever JAX_ENABLE_X64 says, and a compilation cache."""
    import jax

    jax.config.update("jax_enable_x64", False)
    if not _of_several():  # who must meet the others before any device is used
        check_platform()
    setup_compilation_cache()


def _of_several() -> bool:
    """Whether this process is started as one of several that compute a run."""
    from easrec_jax.parallel.processes import started_elsewhere

    return started_elsewhere() or any(word.startswith("--mesh.coordinator") for word in sys.argv)


def _leave(message: str) -> NoReturn:
    """As `fail`, at once: the others of the run, which the end of a process waits for, are gone or will wait for ever."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(2)


def check_platform() -> None:
    """`ValueError` where JAX_PLATFORMS names what is not there."""
    import jax

    if platforms := os.environ.get("JAX_PLATFORMS"):
        try:
            jax.devices()
        except (RuntimeError, AssertionError) as error:  # the latter, without a word, for CUDA without its plugin
            reason = str(error).partition(" (set JAX_PLATFORMS")[0].strip() or "no such device, or no plugin for it"
            raise ValueError(
                f"JAX_PLATFORMS={platforms}: {reason.splitlines()[0][:200]}; unset it, or use JAX_PLATFORMS=cpu"
            ) from None


def setup_compilation_cache() -> None:
    """Compiled programs, small ones too, are kept in the user's cache folder (JAX_COMPILATION_CACHE_DIR overrides where).

    That folder is the user's alone, what is in it being run, and those used longest ago go once it holds more than CACHE_BYTES.
    """
    import jax

    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        folder = home / "easrec_jax" / "xla"
        with contextlib.suppress(OSError):  # a folder that cannot be written is no cache; JAX says so
            for own in (folder.parent, folder):
                own.mkdir(parents=True, exist_ok=True)
                own.chmod(0o700)
            trim_folder(folder, CACHE_BYTES)
        jax.config.update("jax_compilation_cache_dir", str(folder))


def trim_folder(folder: Path, most: int) -> None:
    """Delete the files of a folder that were used longest ago, until it holds at most so many bytes."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    files.sort(key=lambda file: max(file[0].st_mtime, file[0].st_atime))
    excess = sum(status.st_size for status, _ in files) - most
    for status, path in files:
        if excess <= 0:
            break
        Path(path).unlink(missing_ok=True)
        excess -= status.st_size


def machine() -> dict:
    """What the figures were measured on: device, versions, peak resident memory so far in MB."""
    import jax

    device, cores = jax.devices()[0], os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))  # fewer where the process is pinned
    kind = device.device_kind if device.platform != "cpu" else f"CPU, {cores} core{'s' * (cores > 1)}"
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: bytes there, else KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
    return {"device": kind, "jax": jax.__version__, "peak_memory_mb": peak}


def describe_data(data: Interactions, targets: int) -> str:
    """The sizes of what was read, the training targets, and a line for each kind of what the reader left out."""
    sizes = f"{data.num_users} users, {data.num_items} items, {data.num_interactions} interactions"
    return "\n".join(f"data: {line}" for line in (f"{sizes}; {targets} targets an epoch", *data.notes))


def clock(seconds: float) -> str:
    """`0:07`, `12:07` or `3:12:07`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _network(record: dict) -> str:
    """A network trained alone, of a search without a supernet."""
    arch = record["architecture"]
    return f"network {record['epoch']:2d}  {arch['depth']} x {arch['width']}/{arch['inner']} ({record['cost']:.3f})"


PLAIN_SECONDS = 30.0  # between lines of progress where they cannot be drawn over each other


class Progress:
    """One lasting line an epoch on stderr and in `log`, and a live one below it; elsewhere than on a terminal now and then a plain one."""

    def __init__(self, title: str, log: MetricsLog | None = None) -> None:
        from tqdm import tqdm

        from easrec_jax.parallel.processes import is_writer

        self._speaks = is_writer()
        self._title, self._log, self._known, self._written = title, log, "", time.monotonic()
        live = sys.stderr.isatty() and self._speaks
        self._bar = (
            tqdm(total=1, unit=title, file=sys.stderr, bar_format="{unit} |{bar:16}| {desc}", leave=False)
            if live
            else None
        )
        self._show("started")  # to compile may take a while

    def step(self, info: dict) -> None:
        """`on_step` of a loop."""
        if self._bar is None and time.monotonic() - self._written < PLAIN_SECONDS:
            return
        if "measured" in info:
            self._show(f"networks measured as they stand: {info['measured']}")
            return
        finalist = f"finalist {info['finalist']}, alone, " if "finalist" in info else ""
        known = "" if finalist else self._known  # those are the supernet's
        rate = f"  {info['steps_per_s']:.1f} steps/s" if info["steps_per_s"] else ""
        left = f", {clock(info['left_s'])} left at most" if info["left_s"] is not None else ""
        if self._bar is not None:
            self._bar.total, self._bar.n = info["steps"], info["step"]
        else:
            rate = f", step {info['step']}/{info['steps']}{rate}"
        self._show(
            f"{finalist}epoch {info['epoch']}/{info['epochs']}{rate}  loss {info['loss']:.4f}{known}"
            f"  {clock(info['elapsed_s'])} elapsed{left}"
        )

    def epoch(self, record: dict) -> None:
        """`on_epoch` of a loop."""
        if self._log is not None and self._speaks:
            self._log.append(record)
        self._known = f"  NDCG@10 {record['ndcg@10']:.4f}"
        if "pick" in record:
            pick = record["pick"]
            self._known += f"  FLOPs {record['expected_cost']:.3f}  pick {pick['what']} ({pick['cost']:.3f})"
        mark = " *" if record.get("best_epoch") == record["epoch"] else ""
        if "architecture" in record:
            what = _network(record)
        else:
            loss = f"loss {record['loss']:.4f}" if "loss" in record else "before any step"
            what = f"epoch {record['epoch']:3d}  {loss}"
        line = f"{what}{self._known}{mark}"
        self._bar.write(line, file=sys.stderr) if self._bar is not None else self._show(line)

    def _show(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text)
        elif self._speaks:
            print(f"{self._title}: {text}", file=sys.stderr, flush=True)
            self._written = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
