"""Models whose values and actions are set by hand, and data beside them."""

import dataclasses

import equinox as eqx
import jax
import numpy as np

from headstart.algos.cql import CQL
from headstart.algos.discrete_cql import DiscreteCQL
from headstart.artifact import Artifact
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.diagnostics.subject import Subject
from headstart.envs import factory
from headstart.envs.tabular import chain

MDP = chain(5, slip=0.1, discount=0.8)
ENV = "headstart/chain?n=5&slip=0.1"
CONTINUOUS = f"{ENV}&continuous=1"
RIGHT = np.eye(2)[np.ones(MDP.states, int)]
"""(S, A) always to the right, which is the best."""
TRUE = MDP.evaluate(RIGHT)[1]
"""(S, A) values of going right."""


def walks(policy=MDP.uniform, episodes=40, horizon=30, continuous=False, seed=0):
    """Episodes of a policy (S, A) in the chain."""
    rng = np.random.default_rng(seed)
    episodes = MDP.sample_episodes(policy, episodes, horizon, rng, continuous)
    return Dataset.from_episodes(episodes, factory.spec(CONTINUOUS if continuous else ENV))


def _zeros(algorithm, spec, members):
    state = jax.eval_shape(
        jax.vmap(lambda key: algorithm.init(key, spec)), jax.random.split(jax.random.key(0), members)
    )
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)


def _artifact(algorithm, spec, nets, state, options):
    state = dataclasses.replace(state, nets=state.nets | nets)
    members = tuple(range(state.step.shape[0]))
    return Artifact(algorithm, spec, state, Normalizer.of(spec), members, **options)


def table(q, walked, **options):
    """A model of discrete actions with these values: q (S, A), or (members, S, A) of several. It acts greedily."""
    q = np.asarray(q, np.float32)
    q = q if q.ndim == 3 else q[None]
    algorithm = DiscreteCQL(critic_widths=(), discount=MDP.discount)
    state = _zeros(algorithm, walked.spec, len(q))
    # Observations are one-hot: a layer without hidden ones before it is a table.
    critic = eqx.tree_at(lambda net: net.members.trunk.output.weight, state.nets["critic"], q[:, None])
    return _artifact(algorithm, walked.spec, {"critic": critic}, state, options)


def slope(values, rate, action, walked, **options):
    """A model of continuous actions with Q(s, a) = values[s] + rate * a, that always takes `action`, in (-1, 1)."""
    algorithm = CQL(critic_widths=(), actor_widths=(), critics=1, discount=MDP.discount)
    state = _zeros(algorithm, walked.spec, 1)
    size, dimensions = walked.spec.input_size, walked.spec.action.size
    weight = np.full((1, 1, size + dimensions, 1), rate, np.float32)
    weight[0, 0, :size, 0] = values
    critic = eqx.tree_at(lambda net: net.members.trunk.output.weight, state.nets["critic"], weight)
    bias = np.zeros((1, 2 * dimensions), np.float32)
    bias[:, :dimensions] = np.arctanh(action)
    actor = eqx.tree_at(lambda net: net.trunk.output.bias, state.nets["actor"], bias)
    return _artifact(algorithm, walked.spec, {"actor": actor, "critic": critic}, state, options)


def subject(model, data, env=None, **options):
    return Subject(model, data, env, **({"states": 200, "episodes": 10} | options))
