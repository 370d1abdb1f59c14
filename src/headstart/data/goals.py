"""Hindsight: from rows and drawn goals to contexts, and to the reward and discount that a goal gives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart.algorithm import View
from headstart.data import index
from headstart.data.normalize import Normalizer


def relabelled(
    table: Any, rows: Any, view: View, normalizer: Normalizer, draws: dict[str, index.Draw]
) -> dict[str, Any]:
    """The fields of a `Batch` that goals fill, for rows (B,) of a table that `gather` takes.

    The reward is -1 until the goal and 0 at it, where the discount is 0 as well, so that the value of a state is
    -(1 - gamma^d) / (1 - gamma) for a goal d steps away (OGBench: a row is at the goal where the two rows are one). The
    step *into* the goal has discount 0 too: what follows is worth nothing by definition, and so goals may be final
    observations, from which no step begins.
    What ended an episode counts for nothing: an end says that the task of the data was done, not what other goals are
    worth. Both kinds of ends lead on to their final observation, as time limits do elsewhere.
    """
    outcome = _outcome(table, rows, view, normalizer, draws["goals"])
    fields = dict(zip(("context", "reward", "discount"), outcome, strict=True))
    if view.intentions is not None:
        intended = _outcome(table, rows, view, normalizer, draws["intentions"])
        fields |= zip(("intention", "intention_reward", "intention_discount"), intended, strict=True)
    if view.actor_goals is None:
        return fields
    _, fields["actor_context"], commanded = _goals(table, rows, view, normalizer, draws["actor_goals"])
    if view.subgoal_steps:
        remaining = table.remaining(rows)
        low = remaining.clip(max=view.subgoal_steps)
        ahead = (draws["actor_goals"].kind != index.RANDOM) & ~commanded
        to_goal = index.steps_to_goal(draws["actor_goals"], remaining)
        high = _where(ahead & (to_goal < low), to_goal, low)
        for name, steps in (("low_goal", low), ("high_target", high)):
            fields[name] = _observation(table, table.successor(rows, steps), normalizer)
    return fields


def _outcome(table: Any, rows: Any, view: View, normalizer: Normalizer, draw: index.Draw) -> tuple[Any, Any, Any]:
    """Goals (B, *shape) of rows, and the reward and discount (B,) that they give the step of the row."""
    goal, context, commanded = _goals(table, rows, view, normalizer, draw)
    at_goal = (goal == rows) & ~commanded
    arrived = (goal == table.successor(rows, 1)) & ~commanded
    if table.contexts is not None:
        arrived = arrived | (commanded & table.successes[rows])
    return context, at_goal.astype(np.float32) - np.float32(1.0), np.float32(view.discount) * ~(at_goal | arrived)


def _goals(table: Any, rows: Any, view: View, normalizer: Normalizer, draw: index.Draw) -> tuple[Any, Any, Any]:
    """Rows of the goals (B,), contexts (B, *shape), and which of them are commanded, where the row means nothing."""
    own = table.successor(rows, index.steps_to_goal(draw, table.remaining(rows)))
    goal = _where(draw.kind == index.RANDOM, draw.other, own)
    context = view.goal.of(_observation(table, goal, normalizer))
    if table.contexts is None:
        return goal, context, draw.commanded & False
    commanded = draw.commanded.reshape(-1, *[1] * (context.ndim - 1))
    return goal, _where(commanded, table.contexts[rows], context), draw.commanded


def _observation(table: Any, rows: Any, normalizer: Normalizer) -> Any:
    return normalizer.observation(jax.tree.map(lambda column: column[rows], table.observations))


def _where(condition: Any, here: Any, there: Any) -> Any:
    return (np if isinstance(condition, np.ndarray) else jnp).where(condition, here, there)
