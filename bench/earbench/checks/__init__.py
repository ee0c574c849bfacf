"""The contract as executable checks: `bench check` runs them for a submitter, the contract tests for every plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Subject = TypeVar("Subject")
Verdict = tuple[bool, str]


@dataclass(frozen=True)
class Finding:
    """What one check said: its name, whether the promise holds, and what was found (if not: also what to do)."""

    name: str
    ok: bool
    detail: str


def attempt(check: Callable[[Subject], Verdict], subject: Subject) -> Finding:
    """The finding of one check. A check that stops with an error has failed; the others still run."""
    name = check.__name__.replace("_", " ")
    try:
        ok, detail = check(subject)
    except Exception as error:
        ok, detail = False, f"stopped with {type(error).__name__}: {error}"
    return Finding(name, ok, detail)
