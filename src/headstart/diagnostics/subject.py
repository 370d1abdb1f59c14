"""What is diagnosed: an artifact beside data and, where there is one, an environment."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart import nets
from headstart.artifact import Artifact
from headstart.data import transform
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.returns import pessimistic_tail, returns_to_go
from headstart.diagnostics import rollouts
from headstart.diagnostics.findings import Unsupported
from headstart.envs import factory
from headstart.envs.lanes import Actor
from headstart.errors import UsageError
from headstart.train import acting
from headstart.train.evaluate import side_by_side

BLOCK = 1024
"""States that a compiled program looks at at once; one shape serves every number of them."""

DRAWS = 8
"""Sampled actions of a state whose values are averaged, where the policy is sampled."""


class Subject:
    """All that diagnostics look at, computed when first asked for. S members, n states of the data.

    data: rewards as the artifact's settings transform them. env: a string, or None. online: data collected while the
    artifact was finetuned, or None. run: the folder of the artifact's run, or None. position: which two numbers of an
    observation are a position, or None. states: n at most. episodes: of each member in the environment. sample: the
    policy draws its actions instead of taking the likeliest.

    Raises `UsageError` where data or environment have other observations or actions than the artifact, and for models
    that decide on skills, `DataError` for data with NaN.
    """

    def __init__(
        self,
        artifact: Artifact,
        data: Dataset,
        env: str | None = None,
        online: Dataset | None = None,
        run: Path | None = None,
        *,
        position: tuple[int, int] | None = None,
        states: int = 2000,
        episodes: int = 20,
        sample: bool = False,
        seed: int = 0,
    ):
        if states < 1 or episodes < 1:
            raise UsageError(f"expected at least one state and one episode, found {states} and {episodes}")
        if artifact.skills is not None:
            raise UsageError(
                f"{artifact.title} decides on skills, whose values are not those of the data's actions; diagnose a "
                "model that acts itself, or judge this one by `headstart evaluate`"
            )
        self.artifact, self.env, self.run, self.position = artifact, env, run, position
        self.episodes, self.sample, self.seed = episodes, sample, seed
        for other in [part for part in (data, online) if part is not None]:
            other.require_finite()
            artifact.spec.require(other.spec, "the artifact", other.provenance.source)
            _require_choices(artifact, other)
        if env is not None:
            artifact.spec.require(factory.spec(env), "the artifact", env)
        self._given = data
        self.data, self.online = self.rewarded(data), online
        rng = np.random.default_rng(seed)
        steps = data.transitions
        self.rows = np.sort(rng.choice(steps, min(states, len(steps)), replace=False))
        """(n,) rows of the data that are looked at."""
        self._draw = acting.drawn_keys(seed, artifact.members)

    def beside(self, artifact: Artifact) -> Subject:
        """Another artifact, without an environment, beside the same states."""
        options = {"states": len(self.rows), "sample": self.sample, "seed": self.seed}
        return Subject(artifact, self._given, **options)

    # -- data -------------------------------------------------------------------------------------------------

    def rewarded(self, data: Dataset) -> Dataset:
        """The data with rewards as the artifact has learned from them."""
        settings = self.artifact.settings
        scale, shift = settings.get("reward_scale", 1.0), settings.get("reward_shift", 0.0)
        if data.rewards is None or (scale, shift) == (1.0, 0.0):
            return data
        return transform.scale_rewards(data, scale, shift)

    @property
    def seen(self) -> bool:
        """Whether the artifact learned from exactly this data."""
        parts = self.artifact.data if isinstance(self.artifact.data, list) else [self.artifact.data]
        return self.data.digest in [part.get("sha256") for part in parts]

    @functools.cached_property
    def observations(self) -> Any:
        """(n, *shape) of the data, raw."""
        return self.observed(self.data, self.rows)

    def observed(self, data: Dataset, rows: np.ndarray) -> Any:
        return map_arrays(lambda column: np.asarray(column[rows]), data.observations)

    @functools.cached_property
    def actions(self) -> np.ndarray:
        """(n, d) of the data, in [-1, 1]; (n,) integers."""
        return self.taken(self.data, self.rows)

    def taken(self, data: Dataset, rows: np.ndarray) -> np.ndarray:
        """Actions at rows, as algorithms see them. Raises `Unsupported` where there are none."""
        if data.actions is None:
            raise Unsupported(f"{data.provenance.source} holds no actions")
        return self.artifact.normalizer.action(np.asarray(data.actions[rows]))

    def features(self, observations: Any) -> np.ndarray:
        """(n, f) what networks see of raw observations (n, *shape)."""
        return np.asarray(nets.flatten(self.artifact.normalizer.observation(observations)))

    def groups(self, data: Dataset, rows: np.ndarray) -> np.ndarray:
        """The first row of every row's episode, which names it."""
        return np.asarray(data.episode_start[rows])

    # -- returns ----------------------------------------------------------------------------------------------

    @property
    def discount(self) -> float:
        return self.artifact.algorithm.view().discount

    @functools.cached_property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest return that rewards like those of the data allow, whatever follows."""
        lowest, highest = self._rewards
        if self.discount >= 1.0:
            raise Unsupported("returns without discount have no bounds")
        return min(0.0, lowest) / (1.0 - self.discount), max(0.0, highest) / (1.0 - self.discount)

    @functools.cached_property
    def _rewards(self) -> tuple[float, float]:
        if self.data.rewards is None:
            raise Unsupported(f"{self.data.provenance.source} holds no rewards")
        rewards = self.data.rewards[self.data.transitions]
        if not rewards.any():
            raise Unsupported("every reward in the data is 0")
        return float(rewards.min()), float(rewards.max())

    @functools.cached_property
    def tail(self) -> float:
        """What is assumed to follow a cut-off: the least that can."""
        try:
            return pessimistic_tail(self._rewards[0], self.discount)
        except UsageError as error:
            raise Unsupported(str(error)) from error

    @functools.cached_property
    def returns(self) -> np.ndarray:
        """(R,) Monte-Carlo returns of the data, Cal-QL's reference: lower bounds where an episode was cut off."""
        tail, data = self.tail, self.data
        return returns_to_go(data.rewards, data.terminations, data.episode_start, data.episode_end, self.discount, tail)

    @property
    def reference(self) -> np.ndarray:
        """(n,) returns from the states that are looked at."""
        return self.returns[self.rows]

    @functools.cached_property
    def spread(self) -> float:
        """The yardstick of differences: the range of the data's returns without its outer twentieths; where they are
        all alike, that of the returns which the rewards allow."""
        low, high = np.quantile(self.returns[self.data.transitions], [0.05, 0.95])
        return float(high - low) if high > low else self.bounds[1] - self.bounds[0]

    # -- policy and values ------------------------------------------------------------------------------------

    def act(self, observations: Any) -> np.ndarray:
        """Actions (S, n, d) of all members for raw observations (S, n, *shape), in [-1, 1]; (S, n) integers. Of a chunk
        of actions the first."""
        self._without_context()

        def act(observations):
            actions = self.artifact.act(observations, keys=self._draw() if self.sample else None)
            if actions.ndim > 2 + len(self.artifact.spec.action.shape):
                actions = actions[:, :, 0]
            return self.artifact.normalizer.action(actions)

        return in_blocks(act, observations)

    def q(self, observations: Any, actions: np.ndarray) -> np.ndarray:
        """Q-hat (S, n) of raw observations (S, n, *shape) and actions like those of `act`: what the actor maximises,
        the minimum over the critics, or their mean where the algorithm has it so.

        Raises `Unsupported` where the artifact has no critic of states and single actions.
        """
        critic, reduce = (self.critic, self.sees), self.reduce
        normalizer = self.artifact.normalizer
        return in_blocks(lambda *inputs: _values(critic, normalizer, *inputs, reduce=reduce), observations, actions)

    @functools.cached_property
    def critic(self) -> Any:
        """An ensemble with a leading axis of members."""
        self._without_context()
        critic = self.artifact.state.nets.get("critic")
        if critic is None:
            raise Unsupported(f"{self.artifact.title} has no critic")
        if self.artifact.algorithm.view().chunk > 1:
            raise Unsupported(f"the critic of {self.artifact.title} values chunks of actions, not single ones")
        if not isinstance(getattr(critic, "members", None), nets.Critic | nets.DiscreteCritic):
            raise Unsupported(f"the critic of {self.artifact.title} is no ensemble of Q(s, a)")
        return jax.device_put(critic)

    @functools.cached_property
    def sees(self) -> Any:
        """The frozen features that the nets see in place of observations, with a leading axis of members; or None."""
        return jax.device_put(self.artifact.state.nets.get(nets.FEATURES))

    @property
    def reduce(self) -> str:
        """What the actor maximises over the critics: their "min" or "mean"."""
        return getattr(self.artifact.algorithm, "actor_value", "min")

    def _without_context(self) -> None:
        if not self.artifact.acts:
            raise Unsupported(f"{self.artifact.title} has learned from observations alone, and has no policy")
        if self.artifact.spec.context is not None:
            raise Unsupported("the model takes a context (a goal, skill or task), and none is given here")

    @property
    def discrete(self) -> bool:
        return self.artifact.spec.action is not None and self.artifact.spec.action.discrete

    def everyone(self, observations: Any) -> Any:
        """The same observations (n, *shape) for all members: (S, n, *shape)."""
        return map_arrays(lambda column: np.broadcast_to(column, (self.artifact.members, *column.shape)), observations)

    def policy_values(self, observations: Any) -> np.ndarray:
        """Q-hat (S, n) of the policy at raw observations (S, n, *shape)."""
        draws = DRAWS if self.sample else 1
        return np.mean([self.q(observations, self.act(observations)) for _ in range(draws)], axis=0)

    @functools.cached_property
    def values(self) -> np.ndarray:
        """(S, n) Q-hat of the policy at the data's states."""
        return self.policy_values(self.everyone(self.observations))

    @functools.cached_property
    def policy_actions(self) -> np.ndarray:
        """(S, n, d) the policy's actions at the data's states; (S, n) integers."""
        return self.act(self.everyone(self.observations))

    # -- environment ------------------------------------------------------------------------------------------

    @functools.cached_property
    def experience(self) -> list[rollouts.Experience]:
        """What every member's policy lives through. Raises `Unsupported` without an environment."""
        if self.env is None:
            raise Unsupported("no environment is given")
        self._without_context()
        records = rollouts.episodes_of(
            self.actor(), self.env, self.artifact.members, self.episodes, self.seed, self.discount
        )  # fmt: skip
        try:
            tail = self.tail
        except Unsupported:
            # Whoever asks for returns is told why there are none; states and actions can be compared without.
            tail = float("nan")
        return [rollouts.experience(part, self.env, self.rewarded, self.discount, tail) for part in records]

    def actor(self) -> Actor:
        """The members' policies, for lanes that they share evenly; each actor draws the same chances."""
        draw = acting.drawn_keys(self.seed, self.artifact.members) if self.sample else lambda: None
        return side_by_side(
            lambda observations: self.artifact.act(observations, keys=draw()), self.artifact.members
        )  # fmt: skip

    def reward(self, raw: float) -> float:
        """A reward of the environment as the artifact has learned from it."""
        settings = self.artifact.settings
        return settings.get("reward_scale", 1.0) * raw + settings.get("reward_shift", 0.0)

    @property
    def strange_rewards(self) -> str:
        """A sentence where the environment pays what the data never does, so that values of one are no values of the
        other; else nothing."""
        low, high = self._rewards
        paid = np.concatenate([past.data.rewards[past.data.transitions] for past in self.experience])
        margin = 1e-3 * max(abs(low), abs(high))
        if paid.min() >= low - margin and paid.max() <= high + margin:
            return ""
        return (
            f" The environment pays rewards from {paid.min():.3g} to {paid.max():.3g}, the data holds {low:.3g} to "
            f"{high:.3g}: see whether both are the same task."
        )

    @functools.cached_property
    def lived(self) -> list[np.ndarray]:
        """Rows of each member's experience that are looked at: as many for every member, n together at most."""
        count = min(*(len(past.rows) for past in self.experience), max(1, len(self.rows) // self.artifact.members))
        if count == 0:
            raise Unsupported(f"{self.env} cuts every episode off before its return is complete")
        rng = np.random.default_rng(self.seed)
        return [np.sort(rng.choice(past.rows, count, replace=False)) for past in self.experience]

    def at(self, rows: list[np.ndarray]) -> tuple[Any, np.ndarray, np.ndarray]:
        """Observations (S, m, *shape), actions (S, m, d) taken and real returns (S, m) at rows of the experience."""
        pairs = list(zip(self.experience, rows, strict=True))
        observations = [self.observed(past.data, some) for past, some in pairs]
        if isinstance(observations[0], dict):
            stacked = {name: np.stack([part[name] for part in observations]) for name in observations[0]}
        else:
            stacked = np.stack(observations)
        actions = np.stack([self.taken(past.data, some) for past, some in pairs])
        return stacked, actions, np.stack([past.returns[some] for past, some in pairs])


def _require_choices(artifact: Artifact, data: Dataset) -> None:
    """Raise `UsageError` where discrete data holds actions that the artifact does not know."""
    if data.actions is None or artifact.spec.action is None or not artifact.spec.action.discrete:
        return
    highest, known = int(data.actions.max()), artifact.spec.action.categories
    if highest >= known:
        raise UsageError(
            f"{data.provenance.source} holds actions up to {highest}, the artifact knows {known} choices from 0 on; "
            "use data of the same problem"
        )


@functools.partial(jax.jit, static_argnames="reduce")
def _values(critics: Any, normalizer: Normalizer, observations: Any, actions: Any, reduce: str) -> jax.Array:
    """(S, n) values of critics, and of what they see, with a leading axis S."""

    def one(critic, observation, action):
        critic, sees = critic
        return action_values(critic, inputs_of(normalizer.observation(observation), sees), action, reduce)

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(critics, observations, actions)


def inputs_of(observation: Any, sees: nets.Features | None) -> jax.Array:
    """(n, f) what nets take of normalised observations (n, *shape)."""
    return nets.flatten(observation) if sees is None else sees(observation)


def action_values(critic: Any, features: jax.Array, action: jax.Array, reduce: str) -> jax.Array:
    """(n,) the minimum or mean over an ensemble; features (n, f), actions (n, d), or (n,) integers."""
    if isinstance(critic.members, nets.DiscreteCritic):
        q = jax.numpy.take_along_axis(critic(features), action[None, :, None], -1)[..., 0]
    else:
        q = critic(features, action)
    return q.min(0) if reduce == "min" else q.mean(0)


def in_blocks(function: Any, *inputs: Any) -> Any:
    """`function` of inputs (S, n, ...), `BLOCK` states at a time, the last block filled up by repetition. Its result
    may be one array (S, n, ...) or several."""
    count = jax.tree.leaves(inputs)[0].shape[1]
    found = []
    for start in range(0, count, BLOCK):
        rows = np.minimum(np.arange(start, start + BLOCK), count - 1)
        block = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[:, rows], inputs)
        found.append(jax.tree.map(lambda leaf, left=count - start: np.asarray(leaf)[:, :left], function(*block)))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *found)
