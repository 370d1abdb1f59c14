"""A policy learned from images alone finds its way; one that does not look cannot."""

from __future__ import annotations

import numpy as np

import headstart as hs
from headstart.data.dataset import Dataset
from headstart.envs import factory, tabular
from headstart.envs.tabular_env import DrawnState

ENV = "headstart/gridworld?pixels=8&steps=10"


def test_a_clone_of_drawn_walks_reaches_the_goal():
    maze = tabular.gridworld(4, 4)
    _, q = maze.optimal()
    # Right along the top row, then down: each action is the right one in some states only.
    policy = np.eye(4)[q.argmax(1)]
    drawn = DrawnState(tabular.as_env(maze), 8)
    start = np.where(maze.terminal, 0.0, 1.0 / 15)
    everywhere = tabular.TabularMDP(maze.transition, maze.reward, maze.terminal, start, maze.discount)
    episodes = everywhere.sample_episodes(policy, 60, 10, np.random.default_rng(0))
    images = [e | {"observations": np.stack([drawn.observation(o) for o in e["observations"]])} for e in episodes]
    data = Dataset.from_episodes(images, factory.spec(ENV))
    assert data.observations.dtype == np.uint8
    model = hs.pretrain(hs.BC(actor_widths=(32,), actor_lr=1e-3, batch_size=32), data, steps=150)
    looks = np.stack([drawn.observation(o) for o in np.eye(16)[:15]])
    assert (model.policy(looks) == q.argmax(1)[:15]).mean() > 0.9
    assert hs.evaluate(model, env=ENV, episodes=1).success[0] == 1.0
    # Whoever does the same everywhere never arrives.
    assert len(np.unique(q.argmax(1)[:15])) > 1
