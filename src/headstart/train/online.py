"""Online training: n steps collected in every lane, then n x UTD updates, for S training seeds in lockstep."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np

from headstart.algorithm import Algorithm
from headstart.data.columns import map_arrays
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, Replay, draw_batches
from headstart.data.views import Table, one_batch
from headstart.envs.lanes import Lanes
from headstart.envs.open_loop import OpenLoop
from headstart.envs.skills import LowLevel, SkillLanes
from headstart.spec import Spec
from headstart.train import acting, updates
from headstart.train.loop import Interruption, Progress, due
from headstart.train.options import OnlineOptions
from headstart.train.run import Run


def train(
    algorithm: Algorithm,
    states: Any,
    keys: jax.Array,
    env: str,
    spec: Spec,
    normalizer: Normalizer,
    options: OnlineOptions,
    run: Run,
    seeds: tuple[int, ...],
    offline: Table | None = None,
    reward_scale: float = 1.0,
    reward_shift: float = 0.0,
    lowest_reward: float = 0.0,
    frozen: Collection[str] = (),
    evaluate: Callable[[Any, int], None] | None = None,
    low: LowLevel | None = None,
    task: np.ndarray | None = None,
) -> Any:
    """Finetune S training seeds, each with its own environments and buffer; returns their states.

    A time limit is no end: the last transition bootstraps from the observation that the environment cut off at.
    A resumed run is the same run, bit for bit: running episodes are brought back by replaying their actions from
    their start. Rewards become reward_scale * reward + reward_shift, as those of the offline data have. lowest_reward:
    of that data, for the pessimistic tail of returns-to-go. low: what carries actions out where these are skills; a
    step is then a decision, and one that a time limit cuts short is not learned from. task: (c,) the vector of the one
    that is learned, of an algorithm that acts on tasks.

    Raises `TrainingError` where a loss is not finite, `Interrupted` where a signal stopped it (after saving).
    """
    view = algorithm.view()
    mixture = Mixture(options.mixture, options.offline_share, options.final_offline_share)
    frozen = frozenset(frozen)
    # Updates fold small numbers into the keys, so acting draws from a stream of its own.
    sample = acting.Sampler(normalizer, jax.vmap(lambda key: jax.random.fold_in(key, 0xFFFFFFFF))(keys), options.lanes)
    act = OpenLoop(_on_lanes(sample, len(seeds)))
    if options.warmup >= options.steps:
        print(f"the warm-up takes all {options.steps:,} steps: nothing will be learned (warmup)", file=sys.stderr)
    progress = Progress("online", options.steps)
    count = len(seeds) * options.lanes
    opened = Lanes(env, count) if low is None else SkillLanes(env, count, low, view.discount)
    with opened as lanes, Interruption.watch() as interruption, progress:
        players = [
            _Player(
                lanes,
                range(i * options.lanes, (i + 1) * options.lanes),
                seed,
                Replay(spec, options.lanes, _capacity(options), view.discount, lowest_reward, view.mc_return),
                lambda reward: reward_scale * reward + reward_shift,
            )
            for i, seed in enumerate(seeds)
        ]
        learner = updates.learner(states, algorithm, one_batch(players[0].replay, view, normalizer))
        step, done, many = 0, 0, _updates_at_once(options)
        if (restored := run.restore(learner)) is not None:
            step, learner, arrays = restored
            done = int(arrays["updates"])
            progress.start(step)
            for player in players:
                player.restore(arrays["players"][str(player.seed)])
            act.chunks = arrays.get("chunks")
        else:
            if evaluate is not None:
                evaluate(learner.state, 0)
            for player in players:
                player.begin()

        # Rounds are never cut short by what is written when: that changes nothing in the result.
        while step < options.steps:
            before = step
            policies = acting.policies(algorithm, learner.state)
            sample.follow(policies, step + options.lanes * np.arange(options.collect))
            for _ in range(min(options.collect, -(-(options.steps - step) // options.lanes))):
                contexts = None if not view.towards_goals else acting.context(view, normalizer, lanes.goals)
                if task is not None:
                    contexts = np.broadcast_to(task, (len(lanes), len(task)))
                actions = act(lanes, step, contexts)
                for lane, *outcome in lanes.step(actions):
                    context = None if contexts is None else contexts[lane]
                    players[lane // options.lanes].record(lane, actions[lane], *outcome, context)
                step += options.lanes
            for player in players:
                player.settle()
            wanted = _updates_after(step, options)
            for first in range(done, wanted, many):
                some = min(many, wanted - first)
                drawn = [
                    draw_batches(
                        offline, player.replay, mixture, step / options.steps, view, normalizer, key, first, some, many
                    )
                    for player, key in zip(players, keys, strict=True)
                ]
                batches = updates.stacked(drawn, many)
                learner = updates.from_batches(
                    algorithm, frozen, learner, keys, first, some, batches, options.precision, options.crop
                )
            done = wanted
            progress.update(step)
            if due(before, step, options.steps, options.log_every):
                lines = [
                    {"updates": done} | values | player.summary()
                    for values, player in zip(updates.means(learner), players, strict=True)
                ]
                run.metrics("online", step, lines, seeds)
                run.write("timing", [progress.timing(step)])
                learner = updates.clear(learner)
            if evaluate is not None and due(before, step, options.steps, options.eval_every or options.steps):
                evaluate(learner.state, step)
            if interruption.asked or due(before, step, options.steps, options.checkpoint_every):
                kept = {str(player.seed): player.to_arrays() for player in players}
                chunks = {} if act.chunks is None else {"chunks": act.chunks}
                run.save(step, learner, {"updates": np.int64(done), "players": kept} | chunks)
            if interruption.asked and step < options.steps:
                run.close()
                interruption.stop(step, run.folder)
    return learner.state


def _capacity(options: OnlineOptions) -> int:
    """Rows of each lane: no more than the run can fill, with a row for every step and every episode's end. Three hold
    a transition even when the next episode has just begun."""
    return max(3, min(options.buffer_rows, 2 * options.steps + 2 * options.lanes) // options.lanes)


def _updates_after(step: int, options: OnlineOptions) -> int:
    """Updates that are due when `step` steps are done; rounded first, since 0.29 * 100 is a little less than 29."""
    return int(round(max(0, step - options.warmup) * options.updates_per_step, 6))


def _updates_at_once(options: OnlineOptions) -> int:
    """Updates of one dispatch: those of a round, or an even part of them where their batches would take much memory."""
    a_round = max(1, math.ceil(options.collect * options.lanes * options.updates_per_step))
    return math.ceil(a_round / math.ceil(a_round / 64))


def _on_lanes(sample: acting.Sampler, seeds: int) -> Callable:
    """`act(lanes, step, contexts)` -> sampled actions in the environment's units, (S * lanes, *shape), or chunks of
    them, (S * lanes, h, *shape); contexts: (S * lanes, c) or None."""

    def act(lanes: Lanes, step: int, contexts: Any) -> np.ndarray:
        def grouped(part: np.ndarray) -> np.ndarray:
            return part.reshape(seeds, -1, *part.shape[1:])

        told = None if contexts is None else grouped(contexts)
        actions = sample(step, map_arrays(grouped, lanes.observations), told)
        return actions.reshape(-1, *actions.shape[2:])

    return act


class _Player:
    """The experience of one training seed: its lanes, its buffer, and its running episodes."""

    def __init__(self, lanes: Lanes, mine: range, seed: int, replay: Replay, reward: Callable):
        self.lanes, self.mine, self.seed, self.replay, self.reward = lanes, mine, seed, replay, reward
        self.episodes = np.zeros(len(mine), np.int64)
        self.actions: list[list[np.ndarray]] = [[] for _ in mine]
        self.returns = np.zeros(len(mine))
        self.solved = np.zeros(len(mine), bool)
        # Finished episodes since the last log step: number, sum of returns, of lengths, of successes.
        self.finished = np.zeros(4)

    def begin(self) -> None:
        for i in range(len(self.mine)):
            self._start(i)

    def record(
        self, lane: int, action: np.ndarray, reward: float, terminated: bool, success: bool | None, context: Any
    ) -> None:
        """What a step of one of its lanes brought, taken for `context`; an ended episode is followed by the next."""
        i = lane - self.mine.start
        observation = self.lanes.observation(lane)
        if not self.lanes.cut[lane]:
            self.replay.add(i, action, self.reward(reward), terminated, observation, bool(success), context)
        self.actions[i].append(action)
        self.returns[i] += reward
        self.solved[i] |= bool(success)
        if not self.lanes.running[lane]:
            self.finished += [1, self.returns[i], self.lanes.elapsed[lane], self.solved[i]]
            self.replay.settle(i)
            self._start(i)

    def settle(self) -> None:
        for i in range(len(self.mine)):
            self.replay.settle(i)

    def summary(self) -> dict[str, float]:
        """Means over the episodes that ended since the last call."""
        count, total, length, solved = self.finished
        self.finished = np.zeros(4)
        if not count:
            return {"train_episodes": 0.0}
        return {
            "train_episodes": count,
            "train_return": total / count,
            "train_length": length / count,
            "train_success": solved / count,
        }

    def to_arrays(self) -> dict[str, Any]:
        longest = max(map(len, self.actions))
        actions = np.zeros((len(self.mine), longest + 1, *self.lanes.action_space.shape), self.replay.actions.dtype)
        for i, taken in enumerate(self.actions):
            for step, action in enumerate(taken):
                actions[i, step] = action
        return {
            "replay": self.replay.to_arrays(),
            "episodes": self.episodes.copy(),
            "actions": actions,
            "lengths": np.array([len(taken) for taken in self.actions]),
            "finished": self.finished.copy(),
        }

    def restore(self, arrays: dict[str, Any]) -> None:
        """Bring back buffer and running episodes, these by playing their actions again from their start.

        Where an environment does not come out where it was, the episode counts as cut off and a new one begins.
        """
        self.replay.restore(arrays["replay"])
        self.finished = np.array(arrays["finished"])
        for i, lane in enumerate(self.mine):
            self.episodes[i] = arrays["episodes"][i] - 1
            expected = self.replay.latest(i)
            self._start(i, again=True)
            for action in arrays["actions"][i][: int(arrays["lengths"][i])]:
                if not self.lanes.running[lane]:
                    break
                reward, _, success = self.lanes.step_lane(lane, action)
                self.actions[i].append(np.array(action))
                self.returns[i] += reward
                self.solved[i] |= bool(success)
            reached = jax.tree.map(np.array_equal, self.lanes.observation(lane), expected)
            if not (self.lanes.running[lane] and all(jax.tree.leaves(reached))):
                print(
                    f"{self.lanes.name}: the running episode could not be brought back (the same seed and actions led "
                    "elsewhere); it counts as cut off and the run goes on, but not bit for bit",
                    file=sys.stderr,
                )
                self._start(i)

    def _start(self, i: int, again: bool = False) -> None:
        """Begin the next episode of a lane; `again`: its rows are in the buffer already."""
        number = [self.seed, i, int(self.episodes[i])]
        self.lanes.reset(self.mine[i], int(np.random.SeedSequence(number).generate_state(1)[0]))
        self.episodes[i] += 1
        self.actions[i], self.returns[i], self.solved[i] = [], 0.0, False
        if not again:
            self.replay.start(i, self.lanes.observation(self.mine[i]))
