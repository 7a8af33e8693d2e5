"""Work side by side: how many processes may run here, and executors that hand out work to them.

The only place that decides it. Records side by side, each in a process with one thread of torch and BLAS, scale
better than threads within a network's layers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

_LIMITS = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_IDLE_S = 60  # seconds that a process without work stays
_THREADS = 2  # one waits for a disk, or computes outside of Python, while the other goes on


def cores() -> int:
    """How many processes may run side by side.

    As many as there are cores, within the limits of the process (affinity, cgroups), of joblib
    (``LOKY_MAX_CPU_COUNT``), of ``OMP_NUM_THREADS`` and of SLURM (``SLURM_CPUS_PER_TASK``). One within such a process.
    """
    given = [os.environ.get(name, "").partition(",")[0].strip() for name in _LIMITS]
    return max(min(joblib.cpu_count(), *(int(n) for n in given if n.isdigit() and int(n)), 1 << 20), 1)


@contextlib.contextmanager
def side_by_side(*, processes: bool) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many pieces of work it does at a time.

    Parameters
    ----------
    processes : bool
        Whether the work is worth the start of processes, some seconds; they are kept for a minute. Otherwise, and
        where a single core is granted, two threads do it, each with one thread of torch.

    Yields
    ------
    executor : concurrent.futures.Executor
        What is sent to processes is copied, functions and classes of notebooks too.
    n : int

    Raises
    ------
    RuntimeError
        When a process has ended in the midst of its work.
    """
    n = cores()
    if not processes or n == 1:
        with _one_thread(), ThreadPoolExecutor(_THREADS) as executor:
            yield executor, _THREADS
        return
    try:
        yield get_reusable_executor(max_workers=n, timeout=_IDLE_S, env=_ONE_THREAD), n
    except BrokenProcessPool as e:
        raise RuntimeError(
            f"one of {n} processes has ended in the midst of its work, most often for want of memory. Ask for fewer: "
            f"LOKY_MAX_CPU_COUNT={n // 2} in the environment. What is stored is kept, and the same call goes on there"
        ) from e


@contextlib.contextmanager
def on_client(client: Any) -> Iterator[tuple[Executor, int]]:
    """The same of a Dask client's workers.

    Parameters
    ----------
    client : dask.distributed.Client
    """
    with client.get_executor(pure=False) as executor:
        yield executor, 2 * max(sum(client.nthreads().values()), 1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Within, torch uses one thread: threads of threads would wait for each other."""
    import torch

    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)
