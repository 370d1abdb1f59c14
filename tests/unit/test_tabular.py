"""Exact small problems: values in closed form, identities, samples, and the environment of the same problem."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.dataset import Dataset
from headstart.envs import factory, tabular
from headstart.envs.tabular import TabularMDP, chain, gridworld, random_mdp
from headstart.errors import UsageError


def deterministic(actions: list[int], count: int) -> np.ndarray:
    return np.eye(count)[actions]


def test_chain_values_are_powers_of_the_discount():
    mdp = chain(6, discount=0.9)
    values, q = mdp.optimal()
    np.testing.assert_allclose(values[:5], 0.9 ** np.arange(4, -1, -1), atol=1e-9)
    assert values[5] == 0.0
    # Going left from state 2 costs two steps: there and back; at the left wall only one.
    np.testing.assert_allclose(q[2], [0.9**2 * values[2], values[2]], atol=1e-9)
    np.testing.assert_allclose(q[0], [0.9 * values[0], values[0]], atol=1e-9)


def test_always_left_is_worth_nothing_but_its_last_chance_at_a_slip():
    left = deterministic([0, 0, 0], 2)
    np.testing.assert_array_equal(chain(3).evaluate(left)[0], 0.0)
    # Two states: from the first, a slip (probability p) ends with reward 1: v = p + gamma (1 - p) v.
    p, gamma = 0.2, 0.9
    values, _ = chain(2, slip=p, discount=gamma).evaluate(deterministic([0, 0], 2))
    np.testing.assert_allclose(values, [p / (1 - gamma * (1 - p)), 0.0])


def test_gridworld_values_count_the_steps_to_the_goal():
    mdp = gridworld(width=3, height=4, discount=0.8)
    values, _ = mdp.optimal()
    row, column = np.divmod(np.arange(12), 3)
    distance = (3 - row) + (2 - column)
    expected = np.where(distance > 0, -(1 - 0.8 ** (distance - 1.0)) / (1 - 0.8), 0.0)
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_the_greedy_policy_attains_the_optimal_values():
    mdp = random_mdp(8, 3, seed=4)
    values, q = mdp.optimal(1e-11)
    np.testing.assert_allclose(mdp.evaluate(deterministic(q.argmax(1), 3))[0], values, atol=1e-9)
    assert (mdp.evaluate(mdp.uniform)[1] <= q + 1e-9).all()


@pytest.mark.parametrize("mdp", [random_mdp(5, 2, seed=1), chain(5, slip=0.3), gridworld(3, 3, slip=0.2)])
def test_visits_times_rewards_are_the_return(mdp):
    policy = np.random.default_rng(0).dirichlet(np.ones(mdp.actions), mdp.states)
    values, q = mdp.evaluate(policy)
    visits = mdp.occupancy(policy)
    np.testing.assert_allclose((visits * mdp.reward).sum(), mdp.start @ values)
    np.testing.assert_allclose((policy * q).sum(1), values)
    # Visits flow in from the start and from visits before (Bellman flow).
    flow = mdp.start + mdp.discount * np.einsum("sa,sat->t", visits, mdp.transition)
    np.testing.assert_allclose(visits.sum(1), np.where(mdp.terminal, 0.0, flow))
    if not mdp.terminal.any():
        np.testing.assert_allclose(visits.sum(), 1 / (1 - mdp.discount))


def test_sampled_returns_agree_with_the_values():
    mdp = chain(4, slip=0.2, discount=0.8)
    episodes = mdp.sample_episodes(mdp.uniform, 3000, 60, np.random.default_rng(0))
    returns = np.array([episode["rewards"] @ 0.8 ** np.arange(len(episode["rewards"])) for episode in episodes])
    expected = mdp.evaluate(mdp.uniform)[0][0]
    assert abs(returns.mean() - expected) < 4 * returns.std() / np.sqrt(3000) + 0.8**60 / 0.2


def test_ends_and_cuts_are_kept_apart():
    right = deterministic([1] * 5, 2)
    rng = np.random.default_rng(0)
    for horizon, length, ended in [(3, 3, False), (4, 4, True), (9, 4, True)]:
        (episode,) = chain(5).sample_episodes(right, 1, horizon, rng)
        assert len(episode["actions"]) == length
        assert episode["terminated"] is ended
        np.testing.assert_array_equal(episode["observations"], np.eye(5)[: length + 1])
        np.testing.assert_array_equal(episode["rewards"], [0.0] * (length - 1) + [float(ended)])
        np.testing.assert_array_equal(episode["successes"], [False] * (length - 1) + [ended])
    data = Dataset.from_episodes(chain(5).sample_episodes(chain(5).uniform, 10, 6, rng))
    assert data.spec.action.discrete
    assert data.episodes == 10


def test_same_seed_same_samples():
    def draw(seed):
        return random_mdp().sample_episodes(random_mdp().uniform, 3, 5, np.random.default_rng(seed))

    for one, two in zip(draw(1), draw(1), strict=True):
        np.testing.assert_array_equal(one["observations"], two["observations"])
    assert any(not np.array_equal(a["actions"], b["actions"]) for a, b in zip(draw(1), draw(2), strict=True))


def test_continuous_actions_lie_in_the_part_of_their_action():
    mdp = random_mdp(4, 3, seed=0)
    rng = np.random.default_rng(0)
    episodes = mdp.sample_episodes(mdp.uniform, 4, 200, rng, continuous=True)
    actions = np.concatenate([episode["actions"] for episode in episodes])
    assert actions.shape == (800, 1)
    # Uniform over the whole of [-1, 1], as the policy is uniform over three equal parts.
    np.testing.assert_allclose(np.quantile(actions, [0.0, 1 / 3, 2 / 3, 1.0]), [-1, -1 / 3, 1 / 3, 1], atol=0.1)
    edges = np.array([[-1.0], [-0.34], [-0.33], [0.33], [0.34], [1.0]])
    np.testing.assert_array_equal(mdp.bin(edges), [0, 0, 1, 1, 2, 2])


def test_the_environment_is_the_same_problem():
    mdp = chain(4, slip=0.25)
    env = tabular.as_env(mdp, horizon=None)
    env.reset(seed=0)
    counts, rng = np.zeros((4, 2, 4)), np.random.default_rng(0)
    for _ in range(4000):
        state, action = env.unwrapped.state, int(rng.integers(2))
        observation, reward, terminated, truncated, info = env.step(action)
        assert (reward, truncated) == (mdp.reward[state, action], False)
        counts[state, action, observation.argmax()] += 1
        assert info["success"] == terminated == (observation.argmax() == 3)
        if terminated:
            env.reset()
    frequencies = counts[:3] / counts[:3].sum(-1, keepdims=True)
    np.testing.assert_allclose(frequencies, mdp.transition[:3], atol=0.06)


def test_environments_by_name():
    env = factory.make("headstart/chain?n=3&continuous=1&steps=4")
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, [1, 0, 0])
    np.testing.assert_array_equal(env.step(np.array([0.5], np.float32))[0], [0, 1, 0])
    np.testing.assert_array_equal(env.step(np.array([-0.5], np.float32))[0], [1, 0, 0])
    assert factory.spec("headstart/gridworld?width=2&height=3").describe() == "observation float32[6], action 4 choices"
    limited = factory.make("headstart/random?states=3")
    limited.reset(seed=0)
    cut = [limited.step(0)[3] for _ in range(tabular.LIMIT)]
    assert cut == [False] * (tabular.LIMIT - 1) + [True]


def test_broken_problems_are_refused():
    mdp = chain(3)
    half = mdp.transition * 0.5
    with pytest.raises(UsageError, match="probabilities that sum to 1"):
        TabularMDP(half, mdp.reward, mdp.terminal, mdp.start, 0.9)
    with pytest.raises(UsageError, match="none on terminal states"):
        TabularMDP(mdp.transition, mdp.reward, mdp.terminal, np.eye(3)[2], 0.9)
    with pytest.raises(UsageError, match=r"terminal has shape \(2,\), expected \(3,\)"):
        TabularMDP(mdp.transition, mdp.reward, mdp.terminal[:2], mdp.start, 0.9)
    with pytest.raises(UsageError, match="discount"):
        chain(3, discount=1.0)
