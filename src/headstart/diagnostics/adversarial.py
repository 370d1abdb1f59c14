"""Adversarial actions: how high Q-hat can be driven by the action alone, and what lies there."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart import plotting
from headstart.diagnostics.findings import Finding, Table
from headstart.diagnostics.replays import returns_after
from headstart.diagnostics.statistics import text
from headstart.diagnostics.subject import Subject, action_values, in_blocks, inputs_of
from headstart.diagnostics.support import Support
from headstart.train.evaluate import interval

NAME, TITLE = "adversarial", "Adversarial actions"
STEPS = 40
STEP = 0.2
"""Length of the first step of the ascent, in half ranges an element; it shrinks to zero."""
CLIMB = 0.25
"""Rise of Q-hat above the policy's action, or promise above what is really returned, that is flagged; in units of the
returns' spread."""


def adversarial(subject: Subject) -> Finding:
    """Gradient ascent of Q-hat over the action, within its bounds, from the data's actions and the policy's; over
    discrete actions the best of all.

    A critic that rises far above its value of the policy's action promises returns where it was never corrected, and
    the next actor will go there. In an environment the promise is kept or not: the action is taken, and the policy
    followed from then on, in states that are brought back by replaying episodes from their seeds.
    """
    observations = subject.everyone(subject.observations)
    starts = {"the data": np.broadcast_to(subject.actions, subject.policy_actions.shape)}
    starts["the policy"] = subject.policy_actions
    paths, ends = {}, {}
    for name, actions in starts.items():
        ends[name], paths[name] = ascend(subject, observations, actions)
    # (S, n): the better of both ascents, which never end below where they began.
    tops = np.maximum(*(path[..., -1] for path in paths.values()))
    from_data = paths["the data"][..., -1] >= paths["the policy"][..., -1]
    picked = from_data if subject.discrete else from_data[..., None]
    best = np.where(picked, ends["the data"], ends["the policy"])
    base = paths["the policy"][..., 0]
    climb = interval((tops - base).mean(0))

    support = Support(subject)
    far = [support.action_distances(support.held_states, actions[support.held]) for actions in best]
    outside = [float((found > support.action_radius).mean()) for found in far]
    numbers = {
        "Q-hat of the data's actions": paths["the data"][..., 0].mean(),
        "Q-hat of the policy's actions": base.mean(),
        "Q-hat of the best actions found": tops.mean(),
        "climb": climb[0],
        "share of the best actions outside the data": np.mean(outside),
        "distance to the data's actions": np.mean(far),
        "spread of returns": subject.spread,
    }
    verdict = (
        f"Driving the action alone lifts Q-hat {text(climb)} above that of the policy's action, where returns spread "
        f"over {subject.spread:.3g}; {np.mean(outside):.0%} of the actions found lie outside the data's."
    )
    flag = climb[1] > CLIMB * subject.spread
    figure = plotting.blank(8.4 if subject.env else 4.6, 3.6)
    panels = figure.subplots(1, 2 if subject.env else 1, squeeze=False)[0]
    _draw_paths(panels[0], paths, subject)
    columns = ["seed", "Q-hat, data", "Q-hat, policy", "Q-hat, best found", "climb", "share outside"]
    cells = [paths["the data"][..., 0].mean(1), base.mean(1), tops.mean(1), (tops - base).mean(1), outside]
    if subject.env is not None:
        promised, real, usual = _in_environment(subject)
        excess = interval(promised - real)
        numbers |= {"promised in the environment": promised.mean(), "returned": real.mean(), "excess": excess[0],
                    "returned by the policy's own actions": usual.mean()}  # fmt: skip
        verdict += (
            f" In the environment such actions promise {promised.mean():.3g} and return {real.mean():.3g}, the "
            f"policy's own {usual.mean():.3g}; promises differ from returns by {text(excess)}."
        )
        flag = flag or excess[1] > CLIMB * subject.spread
        columns += ["promised", "returned", "returned by the policy"]
        cells += [promised.mean(1), real.mean(1), usual.mean(1)]
        _draw_promises(panels[1], promised, real, subject)
    rows = tuple((f"{seed}", *values) for seed, *values in zip(subject.artifact.seeds, *cells, strict=True))
    return Finding(NAME, TITLE, verdict, bool(flag), numbers, Table(tuple(columns), rows), {NAME: figure})


def ascend(subject: Subject, observations: Any, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best actions found (S, n, ...) from `actions`, and the best Q-hat so far along the way (S, n, STEPS + 1); for
    discrete actions (S, n, 2): before and after."""
    if subject.discrete:
        choices = range(subject.artifact.spec.action.categories)
        values = np.stack([subject.q(observations, np.full_like(actions, choice)) for choice in choices], axis=-1)
        before = np.take_along_axis(values, actions[..., None], -1)
        return values.argmax(-1).astype(actions.dtype), np.concatenate([before, values.max(-1)[..., None]], axis=-1)
    critic, reduce = (subject.critic, subject.sees), subject.reduce
    normalizer = subject.artifact.normalizer
    return in_blocks(lambda *inputs: _ascend(critic, normalizer, *inputs, reduce=reduce), observations, actions)


@functools.partial(jax.jit, static_argnames="reduce")
def _ascend(critics: Any, normalizer: Any, observations: Any, actions: jax.Array, reduce: str) -> Any:
    """Steps along the gradient's direction; an action's gradient does not depend on the other rows."""

    def one(critic, observation, action):
        critic, sees = critic
        features = inputs_of(normalizer.observation(observation), sees)

        def total(action):
            q = action_values(critic, features, action, reduce)
            return q.sum(), q

        gradient = jax.value_and_grad(total, has_aux=True)

        def step(carry, left):
            action, best, best_q = carry
            (_, q), slope = gradient(action)
            better = q > best_q
            best, best_q = jnp.where(better[:, None], action, best), jnp.where(better, q, best_q)
            size = jnp.sqrt(jnp.square(slope).mean(-1, keepdims=True))
            return (jnp.clip(action + STEP * left * slope / (size + 1e-8), -1.0, 1.0), best, best_q), best_q

        lengths = jnp.append(1.0 - jnp.arange(STEPS) / STEPS, 0.0)
        (_, best, _), path = jax.lax.scan(step, (action, action, jnp.full(action.shape[0], -jnp.inf)), lengths)
        return best, path.T

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(critics, observations, actions)


def _in_environment(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S, m) each, one step an episode: Q-hat of the best action found, its real return, and that of the policy's."""
    count = min(subject.episodes, min(len(past.seeds) for past in subject.experience))
    rng = np.random.default_rng(subject.seed)
    rows = []
    for past in subject.experience:
        groups = past.data.episode_start[past.rows]
        # An episode whose returns are nowhere complete has no step here.
        chosen = [rng.choice(past.rows[groups == start]) for start in np.unique(groups)[:count]]
        rows.append(np.array(chosen))
    count = min(map(len, rows))
    rows = [some[:count] for some in rows]
    observations, actions, usual = subject.at(rows)
    best, path = ascend(subject, observations, actions)
    real = returns_after(subject, np.stack(rows), best)
    return path[..., -1], real, usual


def _draw_paths(axis: Any, paths: dict[str, np.ndarray], subject: Subject) -> None:
    for (name, path), colour in zip(paths.items(), plotting.COLOURS, strict=False):
        means = path.mean(1)
        axis.plot(means.mean(0), color=colour, linewidth=1.8, label=f"from the actions of {name}")
        axis.plot(means.T, color=colour, alpha=0.3, linewidth=0.7)
    axis.set_xlabel("steps of ascent")
    axis.set_ylabel("Q-hat, mean over states")
    axis.legend(frameon=False, fontsize=8)
    plotting.quiet(axis)


def _draw_promises(axis: Any, promised: np.ndarray, real: np.ndarray, subject: Subject) -> None:
    for i, seed in enumerate(subject.artifact.seeds):
        axis.scatter(real[i], promised[i], s=14, color=plotting.COLOURS[i % 7], alpha=0.7, label=f"seed {seed}")
    plotting.diagonal(axis)
    axis.set_xlabel("real return of the action found")
    axis.set_ylabel("Q-hat of the action found")
    axis.legend(frameon=False, fontsize=8)
    plotting.quiet(axis)
