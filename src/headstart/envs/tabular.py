"""Exact small decision problems: values by linear algebra, data by simulation, and the same problem as an environment.

For tests and diagnostics, where the true value of every state and action must be known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.envs.names import RESERVED, accept
from headstart.errors import UsageError, unknown

if TYPE_CHECKING:
    import gymnasium

NAMESPACE = "headstart/"
LIMIT = 100
"""Steps of an episode of `as_env` unless told otherwise."""


@dataclasses.dataclass(frozen=True, eq=False)
class TabularMDP:
    """S states and A actions; an episode starts from `start` and ends on entering a terminal state.

    transition: (S, A, S) probabilities; rows of terminal states mean nothing.
    reward:     (S, A) reward of taking the action (its mean, where the reward depends on the next state).
    terminal:   (S,) bool; the value of a terminal state is zero.
    start:      (S,) probabilities, none of them on terminal states.
    discount:   gamma, in [0, 1).
    """

    transition: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    start: np.ndarray
    discount: float

    def __post_init__(self):
        states, actions = np.shape(self.reward)
        expected = {"transition": (states, actions, states), "terminal": (states,), "start": (states,)}
        for name, shape in expected.items():
            if np.shape(getattr(self, name)) != shape:
                raise UsageError(f"{name} has shape {np.shape(getattr(self, name))}, expected {shape}")
        going = ~self.terminal
        if not (np.allclose(self.transition[going].sum(-1), 1.0) and (self.transition[going] >= 0).all()):
            raise UsageError("the transitions from a state and action must be probabilities that sum to 1")
        if not np.isclose(self.start[going].sum(), 1.0) or (self.start < 0).any() or self.start[self.terminal].any():
            raise UsageError("start must be probabilities that sum to 1, with none on terminal states")
        if not 0.0 <= self.discount < 1.0:
            raise UsageError(f"the discount must be in [0, 1), found {self.discount}")

    @property
    def endless(self) -> TabularMDP:
        """The same without terminal states; what led out of them before counts."""
        return dataclasses.replace(self, terminal=np.zeros(self.states, bool))

    @property
    def states(self) -> int:
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        return self.reward.shape[1]

    @property
    def uniform(self) -> np.ndarray:
        """(S, A) the policy that takes every action with the same probability."""
        return np.full(self.reward.shape, 1.0 / self.actions)

    def backup(self, values: np.ndarray) -> np.ndarray:
        """(S, A) reward + discount * expected value of the next state; 0 in terminal states. values: (S,)."""
        following = self.transition @ np.where(self.terminal, 0.0, values)
        return np.where(self.terminal[:, None], 0.0, self.reward + self.discount * following)

    def evaluate(self, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """V (S,) and Q (S, A) of a policy (S, A), exact up to rounding: V = (I - gamma P)^-1 r."""
        reward = np.where(self.terminal, 0.0, (policy * self.reward).sum(1))
        values = np.linalg.solve(np.eye(self.states) - self.discount * self._flow(policy), reward)
        return values, self.backup(values)

    def optimal(self, tolerance: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
        """V* (S,) and Q* (S, A) by value iteration, each within `tolerance` of the truth."""
        q = np.zeros(self.reward.shape)
        while True:
            improved = self.backup(q.max(1))
            # A contraction: what is left to go is at most discount / (1 - discount) times the last change.
            left = np.abs(improved - q).max() * self.discount / (1.0 - self.discount)
            q = improved
            if left <= tolerance:
                return q.max(1), q

    def occupancy(self, policy: np.ndarray) -> np.ndarray:
        """(S, A) expected discounted visits, sum over t of gamma^t P(s_t = s, a_t = a) before the end.

        They sum to 1 / (1 - gamma) where nothing terminates, and the dot product with the rewards is the return.
        """
        start = np.where(self.terminal, 0.0, self.start)
        visits = np.linalg.solve(np.eye(self.states) - self.discount * self._flow(policy).T, start)
        return visits[:, None] * policy

    def _flow(self, policy: np.ndarray) -> np.ndarray:
        """(S, S) probabilities of the next state under a policy, among states that go on."""
        going = ~self.terminal
        return np.einsum("sa,sat->st", policy, self.transition) * going[:, None] * going[None, :]

    # -- data -------------------------------------------------------------------------------------------------

    def one_hot(self, states: Any) -> np.ndarray:
        """(..., S) float32 observations of states (...)."""
        return np.eye(self.states, dtype=np.float32)[states]

    def bin(self, action: Any) -> np.ndarray:
        """(...) index of the equal part of [-1, 1] in which a continuous action (..., 1) lies."""
        cut = np.floor((np.asarray(action)[..., 0] + 1.0) / 2.0 * self.actions)
        return np.clip(cut, 0, self.actions - 1).astype(int)

    def sample_episodes(
        self, policy: np.ndarray, episodes: int, horizon: int, rng: np.random.Generator, continuous: bool = False
    ) -> list[dict[str, Any]]:
        """Episodes for `Dataset.from_episodes`, of a policy (S, A) of probabilities.

        An episode that enters a terminal state is `terminated`; one that is still going after `horizon` steps is
        cut off. Observations are one-hot (T + 1, S); actions are integers (T,), or with `continuous` uniform within
        their part of [-1, 1], (T, 1).
        """
        states = np.zeros((horizon + 1, episodes), int)
        actions = np.zeros((horizon, episodes), int)
        states[0] = _draw(np.broadcast_to(self.start, (episodes, self.states)), rng)
        for t in range(horizon):
            actions[t] = _draw(policy[states[t]], rng)
            following = _draw(self.transition[states[t], actions[t]], rng)
            states[t + 1] = np.where(self.terminal[states[t]], states[t], following)
        ended = self.terminal[states]
        lengths = np.where(ended.any(0), ended.argmax(0), horizon)
        result = []
        for i, length in enumerate(lengths):
            visited, taken = states[: length + 1, i], actions[:length, i]
            # The lower edge of the part, and a place within it.
            place = (taken + rng.uniform(size=length)) / self.actions * 2.0 - 1.0
            episode = {
                "observations": self.one_hot(visited),
                "actions": place[:, None].astype(np.float32) if continuous else taken.astype(np.int32),
                "rewards": self.reward[visited[:-1], taken].astype(np.float32),
                "terminated": bool(self.terminal[visited[-1]]),
            }
            if self.terminal.any():
                episode["successes"] = self.terminal[visited[1:]]
            result.append(episode)
        return result


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) one index per row of probabilities (N, K)."""
    edges = np.cumsum(probabilities, axis=1)[:, :-1]
    return (rng.uniform(size=(len(probabilities), 1)) >= edges).sum(1)


# -- problems -------------------------------------------------------------------------------------------------------


def chain(n: int = 5, slip: float = 0.0, discount: float = 0.9) -> TabularMDP:
    """States in a row, start at the left end, reward 1 for entering the right end, which is terminal.

    Actions: 0 left, 1 right; with probability `slip` the other one happens. Without it V*(s) = discount^(n - 2 - s).
    """
    if n < 2:
        raise UsageError(f"a chain needs at least 2 states, found n={n}")
    steps = np.zeros((n, 2, n))
    for state in range(n):
        steps[state, 0, max(state - 1, 0)] = steps[state, 1, min(state + 1, n - 1)] = 1.0
    transition = (1.0 - slip) * steps + slip * steps[:, ::-1]
    terminal = np.arange(n) == n - 1
    reward = np.where(terminal[:, None], 0.0, transition[:, :, -1])
    return TabularMDP(transition, reward, terminal, np.eye(n)[0], discount)


def gridworld(width: int = 4, height: int = 4, slip: float = 0.0, discount: float = 0.9) -> TabularMDP:
    """Cells in rows, start at the top left, the bottom right terminal; reward -1 for a step, 0 for the last one.

    Actions: 0 up, 1 right, 2 down, 3 left; walls stop. With probability `slip` one of the four happens at random.
    Without it a cell d steps from the goal has V* = -(1 - discount^(d - 1)) / (1 - discount).
    """
    if width * height < 2:
        raise UsageError(f"a grid needs at least 2 cells, found {width} x {height}")
    states = width * height
    moves = np.zeros((states, 4, states))
    for state in range(states):
        row, column = divmod(state, width)
        for action, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
            y, x = np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)
            moves[state, action, y * width + x] = 1.0
    transition = (1.0 - slip) * moves + slip * moves.mean(1, keepdims=True)
    terminal = np.arange(states) == states - 1
    reward = np.where(terminal[:, None], 0.0, transition[:, :, -1] - 1.0)
    return TabularMDP(transition, reward, terminal, np.eye(states)[0], discount)


def random_mdp(states: int = 6, actions: int = 3, seed: int = 0, discount: float = 0.9) -> TabularMDP:
    """Dirichlet(1) transitions and rewards uniform in [0, 1], any start; nothing terminates."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), size=(states, actions))
    reward = rng.uniform(size=(states, actions))
    return TabularMDP(transition, reward, np.zeros(states, bool), np.full(states, 1.0 / states), discount)


PROBLEMS: dict[str, Callable[..., TabularMDP]] = {"chain": chain, "gridworld": gridworld, "random": random_mdp}


def names() -> list[str]:
    """Names that `make` knows."""
    return [NAMESPACE + name for name in PROBLEMS]


def make(name: str, arguments: dict[str, Any], limit: bool = True, pixels: int | None = None) -> gymnasium.Env:
    """The environment "headstart/NAME" with arguments of its problem, `continuous` and `goals`.

    limit: whether an episode is cut off after `LIMIT` steps. pixels: observations are images of so many each way.
    Raises `UsageError` for unknown names and arguments, and for fewer pixels than cells.
    """
    if name not in names():
        raise unknown("environment", name, names())
    problem = PROBLEMS[name.removeprefix(NAMESPACE)]
    arguments = dict(arguments)
    continuous = bool(arguments.pop("continuous", False))
    goals = bool(arguments.pop("goals", False))
    accept(problem, arguments, name, others=("continuous", "goals", *RESERVED))
    try:
        made = problem(**arguments)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UsageError(f"{name}: {given} does not describe a problem ({error})") from error
    env = as_env(made, continuous, LIMIT if limit else None, goals)
    if pixels is None:
        return env
    from headstart.envs.tabular_env import DrawnState

    return DrawnState(env, pixels)


def as_env(
    mdp: TabularMDP, continuous: bool = False, horizon: int | None = LIMIT, goals: bool = False
) -> gymnasium.Env:
    """The problem as an environment: one-hot observations, `Discrete` actions or `Box` of one number in [-1, 1].

    horizon: steps after which an episode is cut off; None for never. goals: reaching a state is the task, in place of
    the problem's rewards and ends; each state in which no episode starts is one task.
    """
    from gymnasium.wrappers import TimeLimit

    from headstart.envs.tabular_env import TabularEnv, TabularGoalEnv

    env = TabularGoalEnv(mdp, continuous) if goals else TabularEnv(mdp, continuous)
    return env if horizon is None else TimeLimit(env, horizon)
