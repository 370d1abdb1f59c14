"""`advise`: what data is good for, as recipes to type."""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import Any

from headstart import config
from headstart.advice import cost as costs
from headstart.advice.facts import Facts
from headstart.advice.rules import CAUTIONS, RECIPES, RULES, Recipe
from headstart.algos import registry
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.errors import UsageError

MOST = 3
"""Recipes that are recommended at most."""

MANY_STEPS = 100_000
"""From so many steps of data on, training is five times as long."""

OFFLINE_STEPS, ONLINE_STEPS = 20_000, 50_000

TOO_LONG = 12 * 3600.0
"""Seconds from which a smaller batch is worth a word."""

SMALL_BATCH = 64
"""Rows below which batches are not advised."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds that a recipe takes: an update of its algorithm on so many rows, all updates offline (0 where there are
    none), and all that follows online (None without an environment)."""

    update: float
    batch_size: int
    offline: float
    online: float | None

    def describe(self) -> str:
        """Short text: `about 4 min offline and 20 min online (6 ms an update)`; if that is long, what shortens it."""
        parts = [f"{_duration(self.offline)} offline"] * (self.offline > 0)
        parts += [f"{_duration(self.online)} online"] if self.online is not None else []
        text = f"about {' and '.join(parts)} ({1e3 * self.update:.0f} ms an update)"
        if self.offline + (self.online or 0.0) > TOO_LONG and self.batch_size >= 4 * SMALL_BATCH:
            text += f"; with --batch-size {self.batch_size // 4} about a quarter of that"
        return text


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One recipe. reasons: why. commands: to be typed in this order; words in capitals are yours to fill in. cost: None
    where its algorithm does not fit the data as it is."""

    name: str
    title: str
    reasons: tuple[str, ...]
    commands: tuple[str, ...]
    cost: Cost | None


@dataclasses.dataclass(frozen=True)
class Against:
    """What is advised against, and why."""

    what: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Advice:
    """seen: what the data is like, a line each. basis: what the costs are from."""

    source: str
    env: str | None
    seen: tuple[str, ...]
    recommended: tuple[Recommendation, ...]
    against: tuple[Against, ...]
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return config.to_json(self)

    def describe(self) -> str:
        """All of it as text."""
        lines = [self.source, *(f"  {line}" for line in self.seen)]
        for place, found in enumerate(self.recommended, 1):
            lines += ["", f"{place}. {found.title}", *(f"  because {reason}" for reason in found.reasons)]
            lines += [f"    {command}" for command in found.commands]
            lines += [f"  {found.cost.describe()}"] if found.cost else []
        if self.against:
            lines += ["", "against", *(f"  {against.what}: {against.reason}" for against in self.against)]
        return "\n".join([*lines, "", f"costs: {self.basis}"])


def advise(data: Dataset | str, env: str | None = None) -> Advice:
    """Look at data, and recommend two or three recipes with reasons, commands and what they cost on this machine.

    data: a data set or a source. env: where to evaluate and go on, None where there is none. The rules are the table in
    `headstart.advice.rules`; the data is read once, and nothing is trained.

    Raises `UsageError` where the environment has other observations or actions than the data.

    >>> import headstart as hs
    >>> print(hs.advise("minari:D4RL/door/human-v2", env="AdroitHandDoor-v1").describe())  # doctest: +SKIP
    """
    source = data if isinstance(data, str) else "SOURCE"
    data = sources.load(data) if isinstance(data, str) else data
    if env is not None:
        from headstart.envs import factory

        data.spec.require(factory.spec(env), data.provenance.source, env)
    facts = dataclasses.replace(Facts.of(data, env), source=source)
    speed = costs.speed()
    decision = None if env is None else costs.decision(env)
    recommended = tuple(
        Recommendation(
            name, RECIPES[name].title, reasons, _commands(RECIPES[name], facts),
            _cost(RECIPES[name], facts, data, speed, decision),
        )
        for name, reasons in _chosen(facts).items()
    )  # fmt: skip
    against = tuple(
        Against(caution.what, _filled(caution.reason, facts)) for caution in CAUTIONS if caution.when(facts)
    )
    return Advice(
        source, env, facts.describe(), recommended, against, costs.BASIS.format(speed / 1e9, costs.EFFICIENCY)
    )


def _chosen(facts: Facts) -> dict[str, tuple[str, ...]]:
    """{recipe: reasons} of the first rules that apply; none for data that is broken."""
    found: dict[str, tuple[str, ...]] = {}
    for rule in RULES if not facts.broken else ():
        if rule.when(facts) and (rule.recipe in found or len(found) < MOST):
            # The baseline's reason would only repeat what speaks for it.
            if rule.recipe in found and rule is RULES[-1]:
                continue
            found[rule.recipe] = (*found.get(rule.recipe, ()), _filled(rule.reason, facts))
    return found


def _filled(reason: str, facts: Facts) -> str:
    values = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    return reason.format(**values | {"broken": ", ".join(facts.broken), "source": facts.source})


def _steps(facts: Facts) -> int:
    return OFFLINE_STEPS * (5 if facts.steps >= MANY_STEPS else 1)


def _commands(recipe: Recipe, facts: Facts) -> tuple[str, ...]:
    labelled = "arrays:runs/labelled"
    values = {
        # What is read is never written to.
        "labelled": labelled + "-again" * (facts.source == labelled),
        "source": shlex.quote(facts.source), "env": shlex.quote(facts.env or "ENV"), "steps": _steps(facts),
        "online": ONLINE_STEPS,
    }  # fmt: skip
    kept = [re.sub(r"\[(.*?)\]", r"\1" if facts.env else "", command) for command in recipe.commands]
    return tuple(command.format(**values) for command in kept if command)


def _cost(recipe: Recipe, facts: Facts, data: Dataset, speed: float, decision: float | None) -> Cost | None:
    algorithm = registry.algorithm(recipe.algorithm, **dict(recipe.fields))
    try:
        update = costs.seconds(algorithm, data, speed)
    except UsageError:
        # Of data without rewards those that a label gives are yet to come; an update costs the same with any.
        rewarded = data.replace("rewards", rewards=data.terminations.astype("float32"))
        try:
            update = costs.seconds(algorithm, rewarded, speed)
        except UsageError:
            return None
    offline = update * _steps(facts) if any("pretrain" in command for command in recipe.commands) else 0.0
    online = None if decision is None else ONLINE_STEPS * (update + decision)
    goes_online = any("--env {env} --data" in command for command in recipe.commands)
    return Cost(update, algorithm.batch_size, offline, online if goes_online else None)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
