"""Progress on stderr: bars with throughput and time left in a terminal, silence elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask


@dataclass
class Progress:
    """Where a run says what it is doing. `quiet` silences everything but warnings."""

    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @property
    def live(self) -> bool:
        return not self.quiet and self.console.is_terminal

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str) -> Iterator["Bar"]:
        """A bar over `total` units (None: nobody knows how many) that shows units per second and the time left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Speed(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console, transient=True, disable=not self.live) as progress:
            yield Bar(progress, progress.add_task(title, total=total))

    @contextmanager
    def note(self, text: str) -> Iterator[None]:
        """A line with a spinner while something without a measure happens."""
        if not self.live:
            yield
            return
        with self.console.status(text):
            yield

    def say(self, text: str) -> None:
        """One line for the person watching; nothing when quiet or when nobody watches."""
        if self.live:
            self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line that must not be lost: always printed, to stderr."""
        print(f"warning: {text}", file=sys.stderr)


@dataclass(frozen=True)
class Bar:
    """One running bar."""

    progress: RichProgress
    id: TaskID

    def advance(self, amount: float, note: str | None = None) -> None:
        self.progress.update(self.id, advance=amount, description=note)


class _Speed(TextColumn):
    def __init__(self, unit: str) -> None:
        super().__init__("")
        self.unit = unit

    def render(self, task: RichTask):  # type: ignore[no-untyped-def]
        self.text_format = f"{shown(task.speed)} {self.unit}/s" if task.speed else ""
        return super().render(task)


def shown(speed: float) -> str:
    """Two digits at least, so that half a step a second does not look like none.

    >>> shown(0.4821), shown(12_345.6)
    ('0.48', '12,346')
    """
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
