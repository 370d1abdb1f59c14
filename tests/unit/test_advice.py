"""Advice: every rule on data made to trigger it, and every command as it would be typed."""

from __future__ import annotations

import dataclasses
import shlex
import types

import numpy as np
import pytest

import headstart as hs
from headstart import api
from headstart.advice import cost, facts
from headstart.advice.advise import Cost, _chosen, _commands
from headstart.advice.facts import Facts
from headstart.advice.rules import CAUTIONS, RECIPES, RULES
from headstart.algos import registry
from headstart.cli import prompt as prompts
from headstart.cli.main import main
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.data.tasks import TaskTable
from headstart.errors import UsageError

CHAIN = "headstart/chain?n=4&continuous=1&steps=15"
GOALS = CHAIN + "&goals=1"


def walks(episodes=60, steps=20, rewards="dense", successes=None, actions="continuous", seed=0, size=4):
    """Random walks (size,) with rewards of that kind; successes: share of episodes whose last step is one."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(episodes):
        observations = np.cumsum(rng.normal(size=(steps + 1, size)), axis=0)
        episode = {"observations": observations.astype(np.float32)}
        if actions == "continuous":
            episode["actions"] = rng.uniform(-1, 1, (steps, 1)).astype(np.float32)
        elif actions == "discrete":
            episode["actions"] = rng.integers(3, size=steps)
        won = successes is not None and index < successes * episodes
        last = np.arange(steps) == steps - 1
        if rewards == "dense":
            episode["rewards"] = rng.normal(size=steps) + index**2
        elif rewards == "sparse":
            episode["rewards"] = np.where(last & won, 0.0, -1.0)
        elif rewards == "constant":
            episode["rewards"] = np.zeros(steps)
        if successes is not None:
            episode["successes"] = last & won
        found.append(episode)
    return Dataset.from_episodes(found)


def of_tasks():
    data = walks()
    tasks = np.zeros(len(data), np.int32)
    tasks[len(data) // 2 :] = 1
    return dataclasses.replace(data, tasks=tasks, task_table=TaskTable.one_hot(["left", "right"]))


def apart():
    """Episodes far from each other."""
    data = walks()
    shift = 1e3 * (data.episode_start[:, None] + 1).astype(np.float32)
    return dataclasses.replace(data, observations=data.observations + shift)


def broken():
    data = walks()
    observations = data.observations.copy()
    observations[3] = np.nan
    return dataclasses.replace(data, observations=observations)


def pictures():
    rng = np.random.default_rng(0)
    return Dataset.from_episodes(
        [{"observations": rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8), "actions": rng.random((4, 2))}] * 2
    )


RULE_TRIGGERS = [
    ("passive", lambda: walks(actions="none", rewards="none"), None),
    ("passive-value", lambda: walks(actions="none", rewards="none"), None),
    ("tasks", of_tasks, None),
    ("clone-calql", lambda: walks(episodes=20), CHAIN),
    ("calql", walks, CHAIN),
    ("discrete", lambda: walks(actions="discrete"), None),
    ("bc", lambda: walks(successes=0.95), None),
    ("iql", walks, None),
    ("rlpd", lambda: walks(rewards="sparse", successes=0.1), CHAIN),
    ("fql", walks, None),
    ("far-goals", lambda: walks(episodes=3, steps=250, rewards="none"), None),
    ("goals", lambda: walks(rewards="none"), None),
    ("labels", lambda: walks(rewards="constant"), None),
    ("skills", lambda: walks(rewards="none"), None),
    ("bc", lambda: walks(actions="discrete", rewards="none"), None),
]
"""(recipe, data, environment) for every rule, in their order."""

CAUTION_TRIGGERS = [
    ("any training on the data as it is", broken, None),
    ("offline RL on these rewards", walks, GOALS),
    ("offline RL on these rewards", lambda: walks(rewards="constant"), None),
    ("offline RL on these rewards", lambda: walks(successes=0.0), None),
    ("plain behaviour cloning", lambda: walks(rewards="sparse", successes=0.2), None),
    ("plain behaviour cloning", walks, None),
    ("CQL without calibration before going online", walks, CHAIN),
    ("long pretraining", walks, None),
    ("hoping for stitching", apart, None),
    ("keeping the data in memory", walks, None),
    ("trusting the bounds of actions", lambda: dataclasses.replace(walks(), actions=3 * walks().actions), None),
    ("the number of steps below, at first", pictures, None),
]


def calm():
    """Nothing is wrong with it, and nothing is to be had but imitation."""
    return walks(rewards="none", episodes=60, steps=180)


@pytest.mark.parametrize("place", range(len(RULES)), ids=lambda i: f"{i} {RULES[i].recipe}")
def test_every_rule_applies_to_data_made_for_it(place):
    name, make, env = RULE_TRIGGERS[place]
    rule = RULES[place]
    assert rule.recipe == name
    found = Facts.of(make(), env)
    assert rule.when(found)
    chosen = _chosen(found)
    assert len(chosen) <= 3
    # It is among the first three, or others speak louder for the same data.
    assert name in chosen or len(chosen) == 3
    if place < len(RULES) - 1:
        others = [Facts.of(made(), where) for _, made, where in (RULE_TRIGGERS[0], RULE_TRIGGERS[5], RULE_TRIGGERS[11])]
        assert not all(rule.when(other) for other in others)


@pytest.mark.parametrize("place", range(len(CAUTIONS)), ids=lambda i: f"{i} {CAUTIONS[i].what}")
def test_every_caution_applies_to_data_made_for_it(place, monkeypatch):
    what, make, env = CAUTION_TRIGGERS[place]
    caution = CAUTIONS[place]
    assert caution.what == what
    assert not caution.when(Facts.of(calm()))
    if what == "keeping the data in memory":
        monkeypatch.setattr(facts, "_free", lambda: 1000)
    assert caution.when(Facts.of(make(), env))


def test_rewards_of_goals_that_nobody_sees_are_not_learned_from():
    """With one goal for all episodes they are."""
    moving, fixed = Facts.of(walks(), GOALS), Facts.of(walks(), GOALS + "&task=2")
    assert (moving.goals, moving.moving, moving.learnable) == (True, True, False)
    assert (fixed.goals, fixed.moving, fixed.learnable) == (True, False, True)
    assert next(iter(_chosen(moving))) == "goals"


def test_every_rule_has_data_and_every_recipe_a_rule():
    assert len(RULE_TRIGGERS) == len(RULES)
    assert len(CAUTION_TRIGGERS) == len(CAUTIONS)
    assert {rule.recipe for rule in RULES} == RECIPES.keys()


def test_facts():
    found = Facts.of(walks(rewards="sparse", successes=0.5))
    assert (found.actions, found.rewards, found.success) == ("continuous", "sparse", 0.5)
    without = dataclasses.replace(walks(rewards="sparse", successes=0.5), successes=None)
    assert Facts.of(without).success == 0.5
    assert Facts.of(walks(size=1)).crossing > 0.95
    assert Facts.of(apart()).crossing == 0.0
    assert Facts.of(walks(episodes=1)).crossing is None
    assert "2 tasks" in Facts.of(of_tasks()).describe()


class Parsed(Exception):
    pass


def parsed(*_, **__):
    raise Parsed


@pytest.mark.parametrize("env", [None, "headstart/chain?n=4&continuous=1"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_command_is_one_that_the_command_line_takes(name, env, monkeypatch):
    from headstart.labels import label

    for place, function in ((api, "pretrain"), (api, "finetune"), (api, "evaluate"), (label, "label")):
        monkeypatch.setattr(place, function, parsed)
    model = types.SimpleNamespace(algorithm=registry.algorithm(RECIPES[name].algorithm), settings={})
    model.specialised = lambda: model
    monkeypatch.setattr(prompts, "load", lambda *_: model)
    found = dataclasses.replace(Facts.of(walks(episodes=4)), source="arrays:my data.npz", env=env)
    commands = _commands(RECIPES[name], found)
    for command in commands:
        program, *args = shlex.split(command)
        assert program == "headstart"
        assert "{" not in command
        assert "[" not in command
        with pytest.raises(Parsed):
            main(args)
    text = " ".join(commands)
    assert "--steps" in text
    assert ("chain" in text) <= (env is not None)


def test_advice_for_data_with_rewards_and_an_environment():
    data = transform.drop_rewards(walks())
    data = dataclasses.replace(data, rewards=walks().rewards)
    found = hs.advise(data, CHAIN)
    assert [part.name for part in found.recommended] == ["calql", "iql", "fql"]
    for part in found.recommended:
        assert part.reasons
        assert part.cost.online > part.cost.update * 50_000
    costs = {part.name: part.cost.update for part in found.recommended}
    assert costs["calql"] > costs["iql"]
    assert found.to_json()["recommended"][0]["commands"][0].startswith("headstart pretrain calql --data SOURCE --steps")
    text = found.describe()
    assert "1. Cal-QL, then online" in text
    assert "GFLOP/s measured" in text
    assert isinstance(found, hs.Advice)


def test_costs_say_what_shortens_them():
    short = Cost(update=0.01, batch_size=256, offline=200.0, online=None)
    assert short.describe() == "about 3 min offline (10 ms an update)"
    long = Cost(update=0.01, batch_size=256, offline=0.0, online=80_000.0)
    assert long.describe() == "about 22.2 h online (10 ms an update); with --batch-size 64 about a quarter of that"


def test_advice_where_little_can_be_done():
    found = hs.advise(broken())
    assert found.recommended == ()
    assert found.against[0].reason.startswith("observations hold NaN")
    passive = hs.advise(walks(actions="none", rewards="none"))
    assert [part.name for part in passive.recommended] == ["passive", "passive-value"]
    assert all(part.cost is not None and part.cost.online is None for part in passive.recommended)
    with pytest.raises(UsageError, match="observation differs"):
        hs.advise(walks(size=5), CHAIN)


def test_operations_are_those_of_the_products():
    data = walks()
    algorithm = registry.algorithm("bc", actor_widths=(64, 64), batch_size=128, policy_kind="deterministic")
    products = 2 * 128 * (4 * 64 + 64 * 64 + 64 * 1)
    # Forward, and back to weights and inputs.
    assert cost.operations(algorithm, data) == pytest.approx(3 * products, rel=0.3)
    assert cost.speed() > 1e8
    assert 0 < cost.decision(CHAIN) < 0.1
