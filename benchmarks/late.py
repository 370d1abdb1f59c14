"""Steps a second of exact Cal-QL at the start and late in training on real data, beside d3rlpy's.

    python benchmarks/late.py --data minari:D4RL/door/human-v2 --width 512 --updates 300 --repeats 3

Late, uniform actions have values so low that they carry no gradient, and `optim.values_with_skipped_gradient` leaves
them out of the backward pass; d3rlpy does the same arithmetic all along (its task is that of `speed.py`). To be late
soon, `--updates` updates are made at ten times the critic's learning rate and five times the weight; then the published
settings are measured from both states, in turn with the peer. Rewards are those of adroit-binary: 10 r + 5, where r is
-1 until the first success ends the episode.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from functools import partial

import jax
from speed import PEER, measure
from workers import BATCH, TASKS, timed

import headstart
from headstart.data import transform
from headstart.data.normalize import Normalizer
from headstart.data.views import one_batch, table
from headstart.train import updates


def main(data: str, width: int, hasty_updates: int, repeats: int, seconds: float) -> None:
    name = f"calql-{width}"
    task = TASKS[name]
    published = headstart.CalQL(weight=1.0, actor_widths=task.actor, critic_widths=task.critic, batch_size=BATCH)
    hasty = dataclasses.replace(published, weight=5.0, critic_lr=10 * published.critic_lr)
    experience = transform.cut_at_success(transform.sparse_success(headstart.load(data)))
    experience = transform.scale_rewards(experience, 10.0, 5.0)
    normalizer = Normalizer.of(experience.spec)
    rows = table(experience, published.view())
    keys = jax.random.split(jax.random.key(0), 1)
    batch = one_batch(rows, published.view(), normalizer)
    rows = jax.tree.map(jax.numpy.asarray, rows)

    def train(algorithm, learner, start: int, count: int):
        # A copy: the loop takes its argument's memory for its result.
        learner = jax.tree.map(lambda leaf: leaf.copy(), learner)
        return jax.block_until_ready(
            updates.from_table(algorithm, frozenset(), learner, keys, start, count, rows, normalizer)
        )

    learners = {"start": updates.learner(updates.fresh(published, experience.spec, keys), published, batch)}
    learners["late"] = train(hasty, learners["start"], 0, hasty_updates)
    rates = {PEER: [], **{when: [] for when in learners}}
    for _ in range(repeats):
        for when, learner in learners.items():
            # From the same state every time, and so few updates that it stays what it was.
            step = partial(train, published, learner, hasty_updates)
            rates[when].append(timed(step, seconds)["rate"])
        if (found := measure(PEER, name, seconds)) is not None:
            rates[PEER].append(found["rate"])
    peer = statistics.median(rates[PEER]) if rates[PEER] else float("nan")
    print("| state | steps/s | ratio |", "|---|---|---|", sep="\n")
    for who, found in rates.items():
        if found:
            middle = statistics.median(found)
            print(f"| {who} | {middle:.3g} ({min(found):.3g}-{max(found):.3g}) | {middle / peer:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data with actions and infos/success, such as minari:ID")
    parser.add_argument("--width", type=int, default=512, choices=(256, 512))
    parser.add_argument("--updates", type=int, default=300, help="hasty updates before the second state")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    main(options.data, options.width, options.updates, options.repeats, options.seconds)
