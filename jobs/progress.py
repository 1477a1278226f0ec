"""What a person sees while the stages run: one line a stage, the present one with its rate and time left."""

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text


def span(seconds: float) -> str:
    seconds = int(seconds + 0.5)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"


class Progress:
    """Stages as lines. On a terminal they are redrawn in place; elsewhere each is printed when it ends."""

    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.planned: list[str] = []
        self.lines: dict[str, Text] = {}
        self.current: str | None = None
        self.done = self.total = 0.0
        self.unit = ""
        self.note = ""
        self.stretch = (0.0, 1.0, "")
        self.rows = 0
        self.began = time.monotonic()
        self.live: Live | None = None
        self.ran = 0
        self.skipped = 0

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()
            self.live = None

    def plan(self, stages: list[str]) -> None:
        """Name the stages to come, in order."""
        self.planned = stages

    def start(self, stage: str) -> None:
        self.current = stage
        self.done = self.total = 0.0
        self.rows = 0
        self.unit = self.note = ""
        self.stretch = (0.0, 1.0, "")
        self.began = time.monotonic()

    def step(self, first: float, last: float, note: str) -> None:
        """The stage is now at its step `note`, from `first` to `last` of the whole; `update` tells how far in it."""
        self.stretch = (first, last, note)
        self.update(0, 1)

    def update(self, done: float, total: float, rows: int = 0, unit: str = "rows", note: str = "") -> None:
        """`done` of `total` pieces of the present stage; `rows` (in `unit`) handled so far, for the rate."""
        first, last, step = self.stretch
        if total:
            self.done, self.total = first + (last - first) * done / total, 1.0
        self.rows, self.unit, self.note = rows, unit, ": ".join(filter(None, (step, note)))

    def finish(self, stage: str, summary: str, style: str = "") -> None:
        seconds = time.monotonic() - self.began
        self._line(stage, Text(f"✓ {stage:<31} {summary}  ({span(seconds)})", style=style))
        self.ran += 1

    def skip(self, stage: str, summary: str) -> None:
        self._line(stage, Text(f"= {stage:<31} {summary}  (unchanged)", style="dim"))
        self.skipped += 1

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _line(self, stage: str, text: Text) -> None:
        self.lines[stage] = text
        self.current = None
        if self.live is None:
            self.console.print(text, soft_wrap=True)

    def _present(self) -> Text:
        seconds = max(time.monotonic() - self.began, 1e-9)
        text = f"▸ {self.current:<31} "
        if self.total:
            text += f"{self.done / self.total:>4.0%}"
        if self.rows:
            text += f"  {self.rows:,} {self.unit}, {self.rows / seconds:,.0f}/s"
        if self.total and 0 < self.done < self.total and seconds > 2:
            text += f", {span(seconds * (self.total - self.done) / self.done)} left"
        if self.note:
            text += f"  {self.note}"
        return Text(f"{text}  ({span(seconds)})", style="bold")

    def _table(self) -> Table:
        table = Table.grid()
        rest = [s for s in self.planned if s not in self.lines and s != self.current]
        # A terminal shows what fits: the newest finished stages, the present one, a count of those to come.
        room = max(self.console.height - 4, 6)
        for line in list(self.lines.values())[-room:]:
            table.add_row(line)
        if self.current:
            table.add_row(self._present())
        if rest:
            table.add_row(Text(f"  {len(rest)} to come: {', '.join(rest)}", style="dim", overflow="ellipsis"))
        return table
