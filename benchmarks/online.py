"""Where the time of online finetuning goes, and what one action costs.

    python benchmarks/online.py --env "AdroitHandDoor-v1?reward_type=sparse&sparse=1" --algorithms iql calql

Each algorithm is pretrained for one step on random episodes and finetuned twice on half-and-half batches, one update a
step; the second run, whose programs are compiled, is the one that is measured. Parts are timed from outside, each made
to wait for its result. `loop`: what is neither updates nor the environment, as a share of these two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from headstart import api
from headstart.algos.registry import algorithm
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.envs.lanes import Lanes
from headstart.train import acting, online, updates

PARTS = {"updates": (updates, "from_batches"), "environment": (Lanes, "step"), "acting": (acting, "act"),
         "batches": (online, "draw_batches")}  # fmt: skip
"""What is timed: the name of a part -> where its function is looked up."""
WHOLE = {"all": (online, "train")}


def profiled(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of each part of `run()`, and of the whole loop in it."""
    places = PARTS | WHOLE
    spent = dict.fromkeys(places, 0.0)
    originals = {part: getattr(*place) for part, place in places.items()}

    def clocked(part: str) -> Callable:
        def call(*args, **kwargs):
            begun = time.perf_counter()
            result = jax.block_until_ready(originals[part](*args, **kwargs))
            spent[part] += time.perf_counter() - begun
            return result

        return call

    try:
        for part, place in places.items():
            setattr(*place, clocked(part))
        run()
        return spent
    finally:
        for part, place in places.items():
            setattr(*place, originals[part])


def microseconds(call: Callable[..., Any], *args: Any, times: int = 2000) -> float:
    """Median of one call."""
    call(*args)
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        call(*args)
        spent.append(time.perf_counter() - begun)
    return 1e6 * float(np.median(spent))


def measured(name: str, data: Any, arguments: argparse.Namespace) -> list[str]:
    """The cells of one line of the table."""
    widths = (arguments.width,) * 2
    made = algorithm(name, actor_widths=widths, critic_widths=widths)
    model = api.pretrain(made, data, steps=1, data_on="host", eval_episodes=0)

    def run() -> None:
        api.finetune(
            model, env=arguments.env, data=data, eval_episodes=0, steps=arguments.steps, collect=arguments.collect,
            precision=arguments.precision,
        )  # fmt: skip

    run()
    spent = profiled(run)
    total = spent.pop("all")
    shares = [100.0 * seconds / total for seconds in [*spent.values(), total - sum(spent.values())]]
    loop = 100.0 * (total / (spent["updates"] + spent["environment"]) - 1.0)
    observation = data.observations[0]
    actions = microseconds(model.policy, observation), microseconds(model.policy, observation, jax.random.key(0))
    return [
        name, f"{arguments.steps / total:.3g}", *(f"{share:.0f}%" for share in shares), f"{loop:.0f}%",
        *(f"{each:.0f}" for each in actions),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="AdroitHandDoor-v1?reward_type=sparse&sparse=1")
    parser.add_argument("--algorithms", nargs="*", default=["iql", "calql"])
    parser.add_argument("--width", type=int, default=256, help="of two hidden layers in all networks")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--collect", type=int, default=50)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    data = to_dataset(collect(Scripted("random"), arguments.env, episodes=10, seed=0), arguments.env, ())
    header = ["algorithm", "steps/s", *PARTS, "rest", "loop", "likeliest action, us", "sampled action, us"]
    print(f"| {' | '.join(header)} |")
    print("|---" * len(header) + "|")
    for name in arguments.algorithms:
        print(f"| {' | '.join(measured(name, data, arguments))} |", flush=True)


if __name__ == "__main__":
    main()
