"""The figure of `headstart lab overestimation`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart import plotting
from headstart.lab.ledge import FORWARD, STEP_OFF
from headstart.lab.overestimation import Course, Study
from headstart.lab.theory import bounds, by_weight
from headstart.train.evaluate import interval

LABELS = {"naive": "naive Q-learning", "cql": "CQL", "calql": "Cal-QL"}
COLOURS = {"naive": plotting.COLOURS[2], "cql": plotting.COLOURS[1], "calql": plotting.COLOURS[0]}
WEIGHTS = np.geomspace(1e-3, 30.0, 30)


def draw(study: Study, out: Path) -> Path:
    """Write the figure as PNG and SVG; returns the path of the PNG."""
    figure = plotting.blank(11.0, 8.0)
    (believed, worth), (mechanism, theorem) = figure.subplots(2, 2)
    _believed(believed, study)
    _worth(worth, study)
    _mechanism(mechanism, study)
    _theorem(theorem, study)
    for axis in (believed, worth, mechanism):
        _switch(axis, study)
    for axis in figure.axes:
        plotting.quiet(axis)
    figure.suptitle("Bands: 95% bootstrap intervals of the mean over seeds", fontsize=9)
    return plotting.save(figure, out)


def _believed(axis: Any, study: Study) -> None:
    for name, course in study.courses.items():
        _band(axis, course.updates, course.estimates, COLOURS[name], label=f"{LABELS[name]} believes")
        axis.plot(course.updates, course.truths.mean(1), color=COLOURS[name], linestyle=":", linewidth=1.5)
    axis.plot([], [], color=plotting.GREY, linestyle=":", label="what that policy is worth")
    _level(axis, study.reference, "$V^\\mu$: who made the data")
    _level(axis, study.lowest, "lowest possible return")
    axis.set(title="What the learner believes its policy is worth", ylabel="value of the start states")
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _worth(axis: Any, study: Study) -> None:
    for name, course in study.courses.items():
        _band(axis, course.updates, course.truths, COLOURS[name], label=LABELS[name])
    _level(axis, study.reference, "$V^\\mu$")
    axis.set(title="What it is worth (exact)", ylabel="value of the start states")
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _mechanism(axis: Any, study: Study) -> None:
    """Q of walking and of stepping off, the lines whose crossing is the dip: in the seed that dips deepest, and there
    in the start state that prefers to step off for longest."""
    dipped = study.courses["cql"]
    seed = int(dipped.dips.argmax())
    prefers = dipped.tables[dipped.switch :, seed].argmax(-1) == STEP_OFF
    state = int((prefers.sum(0) * (study.mdp.start > 0)).argmax())
    for name in ("cql", "calql"):
        course = study.courses[name]
        for action, label, style in ((FORWARD, "walk on", "-"), (STEP_OFF, "step off", "--")):
            q = course.tables[:, seed, state, action]
            axis.plot(course.updates, q, style, color=COLOURS[name], label=f"{LABELS[name]}: {label}", linewidth=1.6)
    _level(axis, float(study.mdp.reward[state, STEP_OFF]), "stepping off, in truth")
    axis.set(title=f"Why CQL dips: Q in state {state} of seed {seed}", ylabel="Q", xlabel="updates")
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _theorem(axis: Any, study: Study) -> None:
    """V-hat - V^pi of the policy that always walks on, and the weights that the theorem asks for."""
    mdp = study.mdp
    policy = np.eye(mdp.actions)[np.full(mdp.states, FORWARD)]
    truth, _ = mdp.evaluate(policy)
    parts = list(zip(study.data, study.references, strict=True))
    for name, references in (("cql", False), ("calql", True)):
        gaps = np.stack([
            (by_weight(mdp, data, policy, WEIGHTS, reference if references else None) - truth) @ mdp.start
            for data, reference in parts
        ], axis=1)  # fmt: skip
        _band(axis, WEIGHTS, gaps, COLOURS[name], label=LABELS[name])
    found = [bounds(mdp, data, policy) for data, _ in parts]
    for field, label, style in (
        ("least", "least weight for $\\hat V \\leq V^\\pi$", "-"),
        ("sufficient", "the theorem's, sampling error known", "--"),
        ("probable", "the theorem's, with 95% certainty", ":"),
    ):
        largest = max(getattr(bound, field) for bound in found)
        if largest > 0.0:
            axis.axvline(largest, color=plotting.GREY, linestyle=style, linewidth=1.0, label=f"{label}: {largest:.2g}")
    _level(axis, study.reference - float(mdp.start @ truth), "$V^\\mu$")
    axis.axhline(0.0, color="black", linewidth=0.8)
    axis.set(
        title="Theorem: always walking on, valued conservatively", xscale="log", xlabel="weight $\\alpha$",
        ylabel="$\\hat V - V^\\pi$ of the start states", ylim=(-20.0, 2.0),
    )  # fmt: skip
    axis.legend(frameon=False, fontsize=8, loc="lower left")


def _band(axis: Any, x: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """values: (T, K)."""
    mean, low, high = np.array([interval(row) for row in values]).T
    axis.plot(x, mean, color=colour, label=label, linewidth=1.6)
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _level(axis: Any, level: float, label: str) -> None:
    axis.axhline(level, color=plotting.GREY, linestyle="--", linewidth=0.9)
    axis.annotate(
        label, (0.01, level), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", fontsize=8
    )


def _switch(axis: Any, study: Study) -> None:
    course: Course = study.courses["cql"]
    axis.axvline(course.updates[course.switch - 1], color=plotting.GREY, linewidth=0.8)
    axis.annotate(
        "new data", (course.updates[course.switch - 1], 0.01), xycoords=("data", "axes fraction"), xytext=(4, 2),
        textcoords="offset points", fontsize=8,
    )  # fmt: skip
