"""What labelling gives: data with new rewards, and how good these are."""

from __future__ import annotations

import dataclasses

from headstart.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number about labels. low, high: its 95% interval, None where it has none. chance: what guessing would give.
    percent: whether it is a share."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    percent: bool = True

    def describe(self) -> str:
        """Short text: `held-out error 4.0% [1.5%, 7.0%] (chance 30.0%)`."""

        def text(number: float) -> str:
            return f"{number:.1%}" if self.percent else f"{number:.3g}"

        interval = "" if self.low is None else f" [{text(self.low)}, {text(self.high)}]"
        chance = "" if self.chance is None else f" (chance {text(self.chance)})"
        return f"{self.name} {text(self.value)}{interval}{chance}"


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Data with new rewards. measures: how good they are, on what was not learned from. warnings: what to mind, each a
    sentence."""

    data: Dataset
    measures: tuple[Measure, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name."""
        return next(measure for measure in self.measures if measure.name == name)

    def describe(self) -> str:
        """A line for the data, for every measure and warning."""
        last = self.data.provenance.transforms[-1]
        return "\n".join([
            repr(self.data), last, *(measure.describe() for measure in self.measures),
            *(f"warning: {warning}" for warning in self.warnings),
        ])  # fmt: skip


def told(how: str, measures: tuple[Measure, ...]) -> str:
    """A line of provenance: by what the rewards are, and how good they are."""
    return "; ".join([f"rewards by {how}", *(measure.describe() for measure in measures)])
