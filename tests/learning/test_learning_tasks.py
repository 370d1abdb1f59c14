"""Several tasks in one model, on problems whose values are known for each."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from training import SEEDS, collect, each, train

from headstart.algos import registry
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.envs.tabular import chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

RIGHT = chain(5, discount=0.8)
LEFT = dataclasses.replace(RIGHT, reward=np.where(RIGHT.terminal[:, None], 0.0, [[0.5, -0.5]]))
"""The same walk; half a point for every step to the left, as much less for one to the right."""
TASKS = {"right": RIGHT, "left": LEFT}


def both(continuous: bool = False) -> Dataset:
    return transform.concatenate(
        [
            transform.of_task(collect(mdp, mdp.uniform, 100, 8, continuous), name)
            for name, mdp in TASKS.items()
        ]
    )  # fmt: skip


def seen(data: Dataset, task: str) -> jnp.ndarray:
    """(S, S + c) every state with the vector of a task."""
    return jnp.concatenate([jnp.eye(5), jnp.tile(data.task_table.vector(task), (5, 1))], axis=1)


def test_values_are_optimal_in_each_task():
    data = both()
    algorithm = registry.algorithm(
        "discrete_cql",
        weight=0.0,
        discount=0.8,
        critic_widths=(32,),
        critic_lr=3e-3,
        tau=0.1,
        batch_size=64,
        tasks=True,
    )
    states, going = train(algorithm, data, 2500), ~RIGHT.terminal
    for name, mdp in TASKS.items():
        found = each(states, lambda state, name=name: state.nets["critic"](seen(data, name)).min(0))
        truth = np.broadcast_to(mdp.optimal()[1], found.shape)
        np.testing.assert_allclose(found[:, going], truth[:, going], atol=0.1, err_msg=name)


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_policies_do_in_each_task_what_its_data_shows(name):
    """Cloning from ways that differ by the task alone; IQL from the same walks with each task's rewards."""
    if name == "bc":
        ways = {"right": RIGHT.uniform * [0.0, 2.0], "left": LEFT.uniform * [2.0, 0.0]}
        parts = [transform.of_task(collect(TASKS[t], way, 60, 8, continuous=True), t) for t, way in ways.items()]
        data, settings = transform.concatenate(parts), {}
    else:
        data = both(continuous=True)
        settings = {"critic_widths": (32,), "critic_lr": 3e-3, "discount": 0.8, "expectile": 0.9, "tau": 0.05}
        settings["inverse_temperature"] = 10.0
    algorithm = registry.algorithm(name, actor_widths=(32,), actor_lr=3e-3, batch_size=64, tasks=True, **settings)
    states = train(algorithm, data, 1200)
    actions = {t: each(states, lambda s, t=t: s.nets["actor"].mode(seen(data, t)))[:, :4, 0] for t in TASKS}
    assert actions["right"].shape == (SEEDS, 4)
    assert (actions["right"] > 0.1).all()
    assert (actions["left"] < -0.1).all()
