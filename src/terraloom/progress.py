"""Progress of long jobs: a bar with count, rate and time left; plain lines where no terminal is."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console: Final = Console(stderr=True, highlight=False)
"""Where progress and notes go; results go to standard output."""

_PLAIN_INTERVAL_S: Final = 20.0
_bar_shown = False


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", "it")
        return Text(f"{task.speed:,.1f} {unit}/s" if task.speed else f"- {unit}/s", style="cyan")


class Meter:
    """Counts finished units of one job."""

    def __init__(self, description: str, total: int, unit: str, done: int = 0) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.done = done
        self._first = done
        self._start = time.monotonic()
        self._last_line = self._start
        self._bar: tuple[Progress, int] | None = None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add `count` finished units; `note` is shown behind the description."""
        self.done += count
        if self._bar is not None:
            progress, task = self._bar
            progress.update(
                task,  # type: ignore[arg-type]
                completed=self.done,
                description=f"{self.description} {note}".strip(),
            )
            return
        now = time.monotonic()
        if now - self._last_line >= _PLAIN_INTERVAL_S or self.done >= self.total:
            self._last_line = now
            rate = (self.done - self._first) / max(now - self._start, 1e-9)
            counted = f"{self.description} {note}  {self.done}/{self.total} {self.unit}"
            if rate > 0:
                left = (self.total - self.done) / rate
                counted += f", {rate:.1f} {self.unit}/s, {left:.0f} s left"
            console.print(counted, soft_wrap=True)


@contextmanager
def meter(description: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Meter]:
    """Show the progress of one job.

    Args:
        description: what is being done.
        total: units in the whole job.
        unit: plural noun of the units.
        done: units that an earlier run had finished; the rate leaves them out.
    """
    counter = Meter(description, total, unit, done)
    global _bar_shown
    if _bar_shown or not console.is_terminal or not sys.stderr.isatty():
        # A job within a job writes lines above the bar of the outer one.
        yield counter
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    _bar_shown = True
    try:
        with progress:
            task = progress.add_task(description, total=total, completed=done, unit=unit)
            counter._bar = (progress, task)
            yield counter
    finally:
        _bar_shown = False
