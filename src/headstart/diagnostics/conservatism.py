"""Conservatism: how far Q-hat lies under what the policy is worth, and whether anything can be worth so little."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from headstart import plotting
from headstart.diagnostics.exact import behaviour, conservative_values, estimated
from headstart.diagnostics.findings import Finding, Table
from headstart.diagnostics.statistics import by_episode, text
from headstart.diagnostics.subject import Subject
from headstart.envs import factory, tabular

NAME, TITLE = "conservatism", "Conservatism"
IMPOSSIBLE = 0.05
"""Share of states valued below the lowest return that rewards allow, that is flagged."""
DEEP = 0.25
"""Mean distance under the real value, in units of the returns' spread, that is flagged."""
WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Conservative weights of the exact statement."""
ROUNDING = 1e-6
SAMPLES = 64
"""Draws from which the probabilities of a sampled policy are counted."""


def conservatism(subject: Subject) -> Finding:
    """Q-hat of the policy under its real value, for the conservative weight that it was trained with.

    Some distance is what CQL is made for: a lower bound does not promise too much. Too deep, it is what finetuning
    must first undo: any new action that is valued rightly then looks better than all that was learned (Nakamoto et al.
    2023, section 4). On the exact problems (`headstart/...`) the real value is computed, and so is what each weight
    would do without a network.
    """
    weight = _weight(subject)
    lowest = subject.bounds[0]
    impossible = (subject.values < lowest).mean(1)
    numbers = {
        "Q-hat": subject.values.mean(),
        "lowest possible return": lowest,
        "share below the lowest possible return": impossible.mean(),
        "spread of returns": subject.spread,
    }
    numbers |= {} if weight is None else {"conservative weight": weight.mean()}
    verdict = (
        f"Q-hat of the policy{'' if weight is None else f' at the conservative weight {weight.mean():.3g}'} is below "
        f"{lowest:.3g}, the lowest return that the rewards allow, in {impossible.mean():.0%} of the data's states."
    )
    if subject.env is not None and subject.env.startswith(tabular.NAMESPACE):
        more, real, table, figure = _exact(subject)
    else:
        more, real, table, figure = _measured(subject, weight, impossible)
    numbers |= real
    flag = impossible.mean() > IMPOSSIBLE or real.get("below the real value", 0.0) > DEEP * subject.spread
    return Finding(NAME, TITLE, verdict + more, flag, numbers, table, {NAME: figure})


def _weight(subject: Subject) -> np.ndarray | None:
    """(S,) weights of the conservative term, learned multipliers included; None where there is no such term."""
    algorithm = subject.artifact.algorithm
    if not hasattr(algorithm, "regulariser"):
        return None
    multiplier = subject.artifact.state.nets.get("multiplier")
    return np.broadcast_to(
        algorithm.weight * (1.0 if multiplier is None else np.exp(multiplier.value)), subject.artifact.members
    )


Part = tuple[str, dict[str, float], Table, Any]
"""What is known of the real value: a sentence, numbers, the table and the figure."""


def _measured(subject: Subject, weight: np.ndarray | None, impossible: np.ndarray) -> Part:
    """Against the returns of the policy's own episodes, where there is an environment."""
    members = subject.artifact.members
    columns = ["seed", "conservative weight", "Q-hat", "share below the lowest possible"]
    cells: list[Any] = [[None] * members if weight is None else weight, subject.values.mean(1), impossible]
    figure = plotting.blank(4.2 if subject.env is None else 8.4, 3.4)
    axes = figure.subplots(1, 1 if subject.env is None else 2, squeeze=False)[0]
    _draw(axes[0], subject, {"Q-hat": subject.values}, "the data's states")
    axes[0].axvline(subject.bounds[0], color=plotting.GREY, linestyle="--", linewidth=1.0)
    sentence, numbers = " Its distance to the real value is not known, since no environment is given.", {}
    if subject.env is not None:
        observations, actions, real = subject.at(subject.lived)
        q = subject.q(observations, actions)
        depth = np.mean(
            [
                by_episode(below[None], subject.groups(past.data, rows))
                for below, past, rows in zip(real - q, subject.experience, subject.lived, strict=True)
            ],
            axis=0,
        )
        depth_text, where = (text(depth), "under") if depth[0] > 0.0 else (text(-depth[[0, 2, 1]]), "above")
        sentence = f" It lies {depth_text} {where} the policy's real returns; returns spread over {subject.spread:.3g}."
        numbers = {"real value": real.mean(), "below the real value": depth[0],
                   "share below the real value": (q < real).mean()}  # fmt: skip
        columns += ["Q-hat, environment", "real value", "below it by", "share below it"]
        cells += [q.mean(1), real.mean(1), (real - q).mean(1), (q < real).mean(1)]
        _draw(axes[1], subject, {"Q-hat": q, "real return": real}, "the policy's own steps")
    rows = tuple((f"{seed}", *values) for seed, *values in zip(subject.artifact.seeds, *cells, strict=True))
    return sentence, numbers, Table(tuple(columns), rows), figure


def _exact(subject: Subject) -> Part:
    """Against the exact value, with what every weight would do without a network: the statements of both papers.

    CQL (theorem 3.2): for a large enough weight V-hat is nowhere above the policy's value. Cal-QL (definition 4.1): for
    a large enough weight it is nowhere below the reference, the value of the policy that collected the data.
    """
    made = factory.make(subject.env)
    mdp = dataclasses.replace(made.unwrapped.mdp, discount=subject.discount)
    made.close()
    shown, counts = estimated(mdp, subject.data)
    prior = behaviour(counts)
    visited = (counts.sum(1) > 0) & ~mdp.terminal
    reference = shown.evaluate(prior)[0]
    policies = _policies(subject, mdp)
    real = np.stack([mdp.evaluate(policy)[0] for policy in policies])[:, visited]
    learned = subject.policy_values(subject.everyone(mdp.one_hot(np.arange(mdp.states))))[:, visited]

    def evaluated(weight: float, least: np.ndarray | None) -> np.ndarray:
        found = [conservative_values(shown, policy, prior, weight, least) for policy in policies]
        return np.stack(found)[:, visited]

    pushed = [evaluated(weight, None) for weight in WEIGHTS]
    bounded = [evaluated(weight, reference) for weight in WEIGHTS]
    floor = reference[visited]
    rows = [
        (weight, (low - real).max(), (real - low).mean(), (low - floor).min(), (cal - real).max(),
         (real - cal).mean(), (cal - floor).min())
        for weight, low, cal in zip(WEIGHTS, pushed, bounded, strict=True)
    ]  # fmt: skip
    rows.append(("learned", (learned - real).max(), (real - learned).mean(), (learned - floor).min()))
    rows[-1] += (None,) * 3
    columns = ("conservative weight", *(f"{name}: {what}" for name in ("CQL", "Cal-QL")
               for what in ("most above the real value", "below it, mean", "least above the reference")))  # fmt: skip
    numbers = {
        "real value": real.mean(),
        "below the real value": (real - learned).mean(),
        "most above the real value": (learned - real).max(),
        "least above the reference": (learned - floor).min(),
        "weight from which CQL is nowhere above the real value": _from(rows[:-1], lambda row: row[1] <= ROUNDING),
        "weight from which Cal-QL is nowhere below the reference": _from(rows[:-1], lambda row: row[6] >= -ROUNDING),
    }
    sentence = (
        f" It lies {numbers['below the real value']:.3g} under the exact value in the mean, and "
        f"{numbers['most above the real value']:.3g} above it at most. By dynamic programming CQL is nowhere above the "
        f"real value {_words(numbers['weight from which CQL is nowhere above the real value'])}, and Cal-QL nowhere "
        f"below the reference {_words(numbers['weight from which Cal-QL is nowhere below the reference'])}."
    )
    low, high = subject.bounds
    levels = {"real value": real, "reference": floor, "learned": learned}
    figure = _ladder(pushed, bounded, levels, low - 0.5 * (high - low))
    return sentence, numbers, Table(columns, tuple(rows)), figure


def _policies(subject: Subject, mdp: tabular.TabularMDP) -> np.ndarray:
    """(members, S, A) probabilities of the policies' actions."""
    everywhere = subject.everyone(mdp.one_hot(np.arange(mdp.states)))
    found = np.zeros((subject.artifact.members, mdp.states, mdp.actions))
    for _ in range(SAMPLES if subject.sample else 1):
        actions = subject.act(everywhere)
        found += np.eye(mdp.actions)[actions if subject.discrete else mdp.bin(actions)]
    return found / found.sum(-1, keepdims=True)


def _from(rows: list[tuple[Any, ...]], holds: Any) -> float:
    """The least weight from which on a statement holds for every larger one; NaN where it fails at the largest."""
    weight = float("nan")
    for row in reversed(rows):
        if not holds(row):
            break
        weight = row[0]
    return weight


def _words(weight: float) -> str:
    return "for none of the weights" if np.isnan(weight) else f"from a weight of {weight:g} on"


# -- figures --------------------------------------------------------------------------------------------------------


def _draw(axis: Any, subject: Subject, values: dict[str, np.ndarray], where: str) -> None:
    """Cumulative distributions of values (S, n)."""
    for (label, members), style in zip(values.items(), ("-", ":"), strict=False):
        for i, seed in enumerate(subject.artifact.seeds):
            axis.ecdf(members[i], color=plotting.COLOURS[i % 7], linestyle=style, label=f"{label}, seed {seed}")
    axis.set_xlabel(f"value in {where}")
    axis.set_ylabel("share of states")
    axis.legend(frameon=False, fontsize=8)
    plotting.quiet(axis)


def _ladder(pushed: list[np.ndarray], bounded: list[np.ndarray], levels: dict[str, np.ndarray], low: float) -> Any:
    """Values by weight; those below `low` are outside the figure."""
    figure = plotting.blank(5.2, 3.6)
    axis = figure.subplots()
    for label, values, colour in (("CQL", pushed, plotting.COLOURS[1]), ("Cal-QL", bounded, plotting.COLOURS[0])):
        axis.plot(WEIGHTS, [found.mean() for found in values], "o-", color=colour, label=f"{label}, exact")
    for (label, value), style in zip(levels.items(), ("-", "--", ":"), strict=True):
        axis.axhline(value.mean(), color=plotting.GREY, linestyle=style, linewidth=1.2, label=label)
    axis.set_ylim(bottom=low)
    axis.set_xscale("symlog", linthresh=WEIGHTS[1])
    axis.set_xlabel("conservative weight")
    axis.set_ylabel("value of the policy, mean over states")
    axis.legend(frameon=False, fontsize=8)
    plotting.quiet(axis)
    return figure
