"""The cells of a command, upstreams times tasks: one after another, or several at a time in processes of their own."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from earbench.config import Settings
from earbench.errors import BenchError
from earbench.line import Forecast
from earbench.plan import Request
from earbench.progress import Progress
from earbench.record import Record

Found = Record | Forecast
Work = Callable[[Request, Settings, Progress], Found]

GRACE = 5.0
"""Seconds that an interrupted process has to save what it has in hand; a terminal interrupts all of them at once."""


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: a record or forecast, or (`found` None) what went wrong and the exit code for it."""

    found: Found | None
    code: int = 0
    said: str = ""


def one_by_one(work: Work, requests: Sequence[Request], settings: Settings, progress: Progress) -> Iterator[Outcome]:
    """The outcome of every cell in order; one that fails does not stop the others."""
    return map(partial(attempt, work, settings=settings, progress=progress), requests)


def side_by_side(
    work: Work, requests: Sequence[Request], settings: Settings, progress: Progress, jobs: int
) -> list[Outcome]:
    """The same for `jobs` cells at a time, which share the processor's threads; what fails is told at once.

    Where two need the same features, one extracts them and the other waits.
    """
    with _workers(min(jobs, len(requests))) as pool, progress.bar(f"{jobs} at a time", len(requests), "cells") as bar:
        waiting: list[Future[Outcome]] = [pool.submit(_quietly, work, request, settings) for request in requests]
        for _ in as_completed(waiting):
            bar.advance(1)
    return [_awaited(one, request) for one, request in zip(waiting, requests, strict=True)]


def attempt(work: Work, request: Request, settings: Settings, progress: Progress) -> Outcome:
    """What `work` makes of a cell. An error of ours is told as it stands; any other is a fault of a plugin or ours."""
    try:
        return Outcome(work(request, settings, progress))
    except BenchError as error:
        return _failed(request, error.exit_code, str(error))
    except Exception as error:
        said = f"stopped with {type(error).__name__}: {error}"
        return _failed(request, 1, f"{said}\n  --debug shows where; nothing that was finished is lost")


def _failed(request: Request, code: int, said: str) -> Outcome:
    print(f"error: {request.upstream} on {request.task}: {said}", file=sys.stderr, flush=True)
    return Outcome(None, code, said)


def _awaited(outcome: Future[Outcome], request: Request) -> Outcome:
    try:
        return outcome.result()
    except BrokenExecutor:
        said = "a process was ended from outside, perhaps for the memory it took"
        return _failed(request, 1, f"{said}\n  the same command goes on from what was saved; fewer --jobs take less")


def _quietly(work: Work, request: Request, settings: Settings) -> Outcome:
    """An interrupt ends the process, once what it had in hand is saved: the pool would give it the next cell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return attempt(work, request, settings, Progress(quiet=True))
    except KeyboardInterrupt:
        os._exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes (a forked one would share the threads and devices of this one); none outlives an interrupt."""
    threads = max(1, torch.get_num_threads() // jobs)
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, fresh, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        yield pool
    except KeyboardInterrupt:
        for worker in multiprocessing.active_children():
            worker.join(GRACE)
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
