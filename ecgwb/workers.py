"""Work side by side: how many processes may run here, and executors that hand out work to them.

The only place that decides it. Records side by side, each in a process with one thread of torch and BLAS, scale
better than threads within a network's layers.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import joblib
from joblib.externals.loky import get_reusable_executor

_LIMITS = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
# A process has one thread, and shows no lines of progress of its own.
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TQDM_DISABLE"), "1")
_IDLE_S = 60  # seconds that a process without work stays
_WORTH_S = 10.0  # seconds of work that are worth the start of processes, which takes a few
_THREADS = 2  # one waits for a disk, or computes outside of Python, while the other goes on


def cores() -> int:
    """How many processes may run side by side.

    As many as there are cores, within the limits of the process (affinity, cgroups), of joblib
    (``LOKY_MAX_CPU_COUNT``), of ``OMP_NUM_THREADS`` and of SLURM (``SLURM_CPUS_PER_TASK``). One within such a process.
    """
    given = [os.environ.get(name, "").partition(",")[0].strip() for name in _LIMITS]
    return min([joblib.cpu_count(), *(int(n) for n in given if n.isdigit() and int(n))])


@contextlib.contextmanager
def side_by_side(*, processes: bool) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many pieces of work to give it at a time, lest all be in memory.

    Parameters
    ----------
    processes : bool
        Whether the work is worth the start of processes, some seconds; they are kept for a minute. Otherwise two
        threads do it, or one, where a single core is granted.

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
        n = min(n, _THREADS)
        with ThreadPoolExecutor(n) as executor:
            yield executor, n
        return
    try:
        yield get_reusable_executor(max_workers=n, timeout=_IDLE_S, env=_ENVIRONMENT), n + 1
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
def one_thread() -> Iterator[None]:
    """torch on one thread, where work is done side by side: threads of threads would wait for each other."""
    import torch  # slow to import, and not needed by all work

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------- the same for each part


def each(work: Callable[[Any], Any], parts: Sequence[Any], *, client: Any = None, long: bool = False) -> Iterator[Any]:
    """What `work` makes of each part, in order, with the warnings it gives; of many alike, the first.

    The first two are made here. Where the others would take more than ten seconds they are made in processes, as many
    as `cores` allows: the same is made, whichever way. All stays here where work is done on a GPU.

    Parameters
    ----------
    work : callable
        Takes a part.
    parts : sequence
    client : dask.distributed.Client, optional
        Makes all of them on its workers instead.
    long : bool
        Whether each part is known to take long: none is made here first.

    Yields
    ------
    Any
    """
    told: set[str] = set()
    for made, messages in _made(work, parts, client, 0 if long else 2):
        for message in messages:
            alike = re.sub(r"[\d.]+", "#", message.text)
            if alike not in told:
                told.add(alike)
                message.tell()
        yield made


class _Message(NamedTuple):
    """A warning, and where it comes from: it is told here, when it was given in another process."""

    text: str
    category: type[Warning]
    file: str
    line: int

    def tell(self) -> None:
        if issubclass(self.category, UserWarning) and not issubclass(self.category, DeprecationWarning):
            warnings.warn(self.text, self.category, stacklevel=callers_level())
        else:  # of packages, about what will change in them
            warnings.warn_explicit(self.text, self.category, self.file, self.line)


def callers_level() -> int:
    """How many frames up from the function that asks the user's code lies: not ours, nor decorators of torch."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] in (
        "ecgwb",
        "torch",
        "contextlib",
    ):
        frame, level = frame.f_back, level + 1
    return level


def _told(work: Callable[[Any], Any], part: Any) -> tuple[Any, list[_Message]]:
    """What work makes of a part, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = work(part)
    return made, [_Message(str(w.message), w.category, w.filename, w.lineno) for w in caught]


def _on_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _made(
    work: Callable[[Any], Any], parts: Sequence[Any], client: Any, first: int
) -> Iterator[tuple[Any, list[_Message]]]:
    if client is not None:
        yield from _on_client(work, parts, client)
        return
    took = math.inf if first == 0 else 0.0
    for k, part in enumerate(parts):
        left = len(parts) - k
        if k == first and left > 1 and cores() > 1 and not _on_gpu() and took * left > _WORTH_S:
            with contextlib.suppress(TypeError, AttributeError, ValueError):  # what cannot be copied stays here
                copied = cloudpickle.dumps(work)
                break
        began = time.perf_counter()
        yield _told(work, part)
        took = time.perf_counter() - began  # the second counts: the first finds out what is then kept
    else:
        return
    yield from _in_processes(copied, parts[k:])


def _in_processes(work: bytes, parts: Sequence[Any]) -> Iterator[tuple[Any, list[_Message]]]:
    waiting: deque[Future] = deque()
    with tempfile.TemporaryDirectory(prefix="ecgwb-") as tmp, side_by_side(processes=True) as (executor, n):
        file = Path(tmp) / "work"
        file.write_bytes(work)  # a network is read once by each process, not once for each part
        try:
            for part in parts:
                waiting.append(executor.submit(_told_of_file, str(file), part))
                if len(waiting) > 2 * n:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@lru_cache(maxsize=1)
def _read(file: str) -> Callable[[Any], Any]:
    return cloudpickle.loads(Path(file).read_bytes())


def _told_of_file(file: str, part: Any) -> tuple[Any, list[_Message]]:
    return _told(_read(file), part)


def _on_client(work: Callable[[Any], Any], parts: Sequence[Any], client: Any) -> Iterator[tuple[Any, list[_Message]]]:
    sent = client.scatter(work, broadcast=True, hash=False)  # once a worker, not once a part
    yield from client.gather(client.map(_told, [sent] * len(parts), parts, pure=False))
