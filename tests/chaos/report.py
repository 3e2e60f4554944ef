"""The results of a pass: a line for each scenario, and notes."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Line:
    """The result of one scenario."""

    scenario: str

    seed: int

    created: int
    """Tasks that were committed while it ran, with a response to the client or without."""

    logged: int
    """How many of them have an activity and a line in the log."""

    lost: int
    """How many have none."""

    doubled: int
    """How many activities are surplus: of tasks that have one already."""

    recovery_seconds: float | None
    """From the end of the fault until the outbox was empty; None if it never was."""

    def cells(self) -> tuple[str, ...]:
        recovery = "never" if self.recovery_seconds is None else f"{self.recovery_seconds:.1f} s"
        numbers = (self.seed, self.created, self.logged, self.lost, self.doubled)
        return (self.scenario, *map(str, numbers), recovery)


HEADINGS = ("scenario", "seed", "created", "logged", "lost", "doubled", "recovery")


@dataclass
class Report:
    """All results of a pass so far."""

    lines: list[Line] = field(default_factory=list)

    notes: list[str] = field(default_factory=list)

    def table(self) -> Iterator[str]:
        """Return the lines of a Markdown table, its columns aligned."""
        rows = [HEADINGS, *(line.cells() for line in self.lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            first, *others = zip(row, widths, strict=True)
            cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            yield f"| {' | '.join(cells)} |"
            if number == 0:
                yield f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (width + 1) + ':' for width in widths[1:])}|"
