"""Distributional shift: do policy and data meet the same states, and take the same actions in them?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from headstart import plotting
from headstart.data.dataset import Dataset
from headstart.diagnostics.findings import Finding, Table
from headstart.diagnostics.statistics import TwoSample, two_sample
from headstart.diagnostics.subject import Subject
from headstart.diagnostics.support import Support

NAME, TITLE = "shift", "Distributional shift"
OUTSIDE = 0.25
"""Share of the policy's states or actions outside the data that is flagged; of data like its own it is 0.05."""
THIRDS = ("first third", "second third", "last third")


def shift(subject: Subject) -> Finding:
    """The policy's actions and states against the data's: a classifier two-sample test (Lopez-Paz and Oquab 2017) says
    whether they differ, nearest neighbours whether they lie where no data is. Only the latter is flagged: a policy
    that is better than the data's must differ from it.
    """
    support = Support(subject)
    radii = {"actions": support.action_radius, "states": support.state_radius}
    rows: list[tuple[Any, ...]] = []
    drawn: dict[str, list[np.ndarray]] = {"actions": [], "states": []}
    compared = [*_actions(subject, support), *(_states(subject, support) if subject.env else [])]
    for what, test, found in compared:
        drawn[what].append(found)
        rows.append((what, f"seed {subject.artifact.seeds[len(drawn[what]) - 1]}", *_cells(test, found, radii[what])))
    for label, test, found in _online(subject, support):
        rows.append(("online data", label, *_cells(test, found, radii["states"])))

    numbers, sentences = {}, []
    for what, label in (("actions", "actions in the data's states"), ("states", "states")):
        own = [row for row in rows if row[0] == what]
        if not own:
            sentences.append("States are not compared, since no environment is given.")
            continue
        accuracy, low, high, outside = (float(np.mean([row[i] for row in own])) for i in range(2, 6))
        numbers |= {f"{what}: classifier accuracy": accuracy, f"{what}: share outside the data": outside}
        sentences.append(
            f"Of the policy's {label} {outside:.0%} lie outside the data (of the data's own 5%); a classifier tells "
            f"them from the data's with {accuracy:.0%} accuracy ({low:.0%} to {high:.0%} by chance)."
        )
    later = [row for row in rows if row[0] == "online data"]
    if later:
        numbers |= {f"online data, {row[1]}: share outside the data": row[5] for row in later}
        shares = ", ".join(f"{row[5]:.0%}" for row in later)
        sentences.append(f"Of the states met online {shares} lie outside, in its thirds.")
    flag = any(numbers.get(f"{what}: share outside the data", 0.0) > OUTSIDE for what in drawn)
    columns = ("what", "of", "classifier accuracy", "by chance, low", "by chance, high", "share outside", "distance")
    own = {"actions": support.own_actions, "states": support.own_states}
    figure = _figure({what: (own[what], found, radii[what]) for what, found in drawn.items() if found}, subject)
    return Finding(NAME, TITLE, " ".join(sentences), flag, numbers, Table(columns, tuple(rows)), {NAME: figure})


Compared = tuple[str, TwoSample, np.ndarray]
"""What is compared (or a label of it), the test, and the distances to the data (n,)."""


def _actions(subject: Subject, support: Support) -> Iterator[Compared]:
    groups = subject.groups(subject.data, subject.rows)
    states = support.scaled(subject.observations)
    taken = np.concatenate([states, _numbers(subject, subject.actions)], axis=1)
    for actions in subject.policy_actions:
        chosen = np.concatenate([states, _numbers(subject, actions)], axis=1)
        test = two_sample(taken, chosen, groups, groups, subject.seed)
        yield "actions", test, support.action_distances(states[support.held], actions[support.held])


def _states(subject: Subject, support: Support) -> Iterator[Compared]:
    for past, rows in zip(subject.experience, subject.lived, strict=True):
        yield "states", *_against_data(subject, support, past.data, rows)


def _online(subject: Subject, support: Support) -> Iterator[Compared]:
    """Thirds of the online data's episodes, in order."""
    if subject.online is None:
        return
    data = subject.online
    rng = np.random.default_rng(subject.seed)
    for label, steps in zip(THIRDS, np.array_split(data.transitions, 3), strict=True):
        rows = np.sort(rng.choice(steps, min(len(steps), len(subject.rows)), replace=False))
        yield label, *_against_data(subject, support, data, rows)


def _against_data(subject: Subject, support: Support, data: Dataset, rows: np.ndarray) -> tuple[TwoSample, np.ndarray]:
    """States at `rows` of other data against those of the subject's data."""
    states = support.scaled(subject.observed(data, rows))
    # Episodes of other data have other names.
    groups = subject.groups(data, rows) + len(subject.data)
    own = support.scaled(subject.observations)
    test = two_sample(own, states, subject.groups(subject.data, subject.rows), groups, subject.seed)
    return test, support.state_distances(states)


def _numbers(subject: Subject, actions: np.ndarray) -> np.ndarray:
    """(n, d) of continuous actions, (n, A) one-hot of discrete ones."""
    if not subject.discrete:
        return actions.reshape(len(actions), -1)
    return np.eye(subject.artifact.spec.action.categories)[actions]


def _cells(test: TwoSample, found: np.ndarray, radius: float) -> tuple[float, ...]:
    return test.accuracy, test.low, test.high, float((found > radius).mean()), float(found.mean())


def _figure(parts: dict[str, tuple[np.ndarray, list[np.ndarray], float]], subject: Subject) -> Any:
    """Cumulative distributions of distances. parts: {what: (the data's own, those of each seed, radius)}."""
    figure = plotting.blank(4.2 * len(parts), 3.4)
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    for axis, (what, (own, found, radius)) in zip(axes, parts.items(), strict=True):
        axis.ecdf(own, color=plotting.GREY, label="other episodes of the data")
        for i, (seed, distances) in enumerate(zip(subject.artifact.seeds, found, strict=True)):
            axis.ecdf(distances, color=plotting.COLOURS[i % 7], label=f"policy, seed {seed}")
        axis.axvline(radius, color=plotting.GREY, linestyle="--", linewidth=1.0)
        axis.set_xlabel(f"distance of {what} to the data")
        axis.set_ylabel("share of steps")
        axis.legend(frameon=False, fontsize=8, loc="lower right")
        plotting.quiet(axis)
    return figure
