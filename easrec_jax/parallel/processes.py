"""Several processes that compute one run together: how they find each other, who writes, how they agree to stop.

Each process runs the same program on its own devices. What they compute together they compute in the same order, so each
decision that depends on the clock, on a signal or on a file is one that all of them take: it is agreed on here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from easrec_jax.config.mesh import MeshConfig

R = TypeVar("R")
TEXT = 4096  # bytes of an error that all are told


def started_elsewhere() -> bool:
    """Whether what started this process says that it is one of several: srun of SLURM, or JAX's own variable."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 or "JAX_COORDINATOR_ADDRESS" in os.environ


def start(mesh: MeshConfig) -> None:
    """Join the other processes of the run, before any device is used; nothing where this is the only one."""
    if jax.distributed.is_initialized():  # by Ray's JaxTrainer
        return
    jax.config.update(
        "jax_enable_preemption_service", False
    )  # it would take SIGTERM, which the loop answers by a checkpoint
    if "cpu" in os.environ.get("JAX_PLATFORMS", ""):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        if mesh.processes > 1:
            jax.distributed.initialize(mesh.coordinator, num_processes=mesh.processes, process_id=mesh.process)
        elif mesh.devices > 1 and started_elsewhere():
            jax.distributed.initialize()
    except RuntimeError as error:
        whom = f"--mesh.coordinator {mesh.coordinator}" if mesh.coordinator else "the processes of this run"
        raise ValueError(f"{whom}: they do not find each other: {str(error).splitlines()[0]}") from error


def several() -> bool:
    """Whether other processes compute the same run."""
    return jax.process_count() > 1


def is_writer() -> bool:
    """Whether this is the process that writes files and speaks: the first."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Return when every process has come here."""
    if several():
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)


def any_of(flag: bool) -> bool:
    """Whether it is true in any process; the same in all."""
    if not several():
        return flag
    from jax.experimental.multihost_utils import process_allgather

    return bool(np.any(process_allgather(np.array(flag))))


def first_does(function: Callable[[], R]) -> R | None:
    """What `function` returns in the first process, None in others. Where it raises there, all raise: no one waits for the others."""
    if not several():
        return function()
    wait_for_all("before the first process does it")
    from jax.experimental.multihost_utils import broadcast_one_to_all

    failure, result = None, None
    if is_writer():
        try:
            result = function()
        except Exception as error:
            failure = error
    told = np.zeros(TEXT, np.uint8)
    if failure is not None:
        text = (str(failure) or type(failure).__name__).encode()[:TEXT]
        told[: len(text)] = list(text)
    told = np.asarray(broadcast_one_to_all(told))
    if failure is not None:
        raise failure
    if told.any():
        raise ValueError(bytes(told[told > 0]).decode(errors="replace"))
    return result
