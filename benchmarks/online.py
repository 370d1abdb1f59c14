"""Where the time of online finetuning goes, and what one action costs.

    python benchmarks/online.py --env "AdroitHandDoor-v1?reward_type=sparse&sparse=1" --algorithms iql calql

Each algorithm is pretrained for one step on random episodes and finetuned twice on half-and-half batches, one update a
step; the second run, whose programs are compiled, is the one that is measured, without its set-up (environments made,
the update traced). Parts are timed from outside, each made to wait for its result. `loop`: what is neither updates nor
the environment (its resets included), as a share of these. `cores`: how many cores are busy during updates; where these
are nearly all there are, collecting meanwhile would gain nothing.
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

PARTS = {"updates": (updates, "from_batches"), "environment": (Lanes, "step"), "resets": (Lanes, "reset"),
         "acting": (acting.Sampler, "__call__"), "batches": (online, "draw_batches")}  # fmt: skip
"""What is timed: the name of a part -> where its function is looked up."""
WHOLE = {"all": (online, "train")}
SETUP = {"environments": (Lanes, "__init__"), "tracing": (updates, "learner")}


def profiled(run: Callable[[], Any]) -> tuple[dict[str, float], float]:
    """Seconds of each part of `run()`, of its set-up and of the whole loop; and the cores busy during updates."""
    places = PARTS | WHOLE | SETUP
    spent = dict.fromkeys(places, 0.0)
    busy = 0.0
    originals = {part: getattr(*place) for part, place in places.items()}

    def clocked(part: str) -> Callable:
        def call(*args, **kwargs):
            nonlocal busy
            begun, worked = time.perf_counter(), time.process_time()
            result = jax.block_until_ready(originals[part](*args, **kwargs))
            spent[part] += time.perf_counter() - begun
            busy += time.process_time() - worked if part == "updates" else 0.0
            return result

        return call

    try:
        for part, place in places.items():
            setattr(*place, clocked(part))
        run()
        return spent, busy / spent["updates"]
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


def parts(spent: dict[str, float]) -> tuple[float, list[float], float]:
    """Seconds without the set-up; the shares of `PARTS` and of the rest in them; and what the loop costs, as a share of
    updates and environment with its resets. spent: as of `profiled`."""
    total = spent["all"] - sum(spent[part] for part in SETUP)
    seconds = [spent[part] for part in PARTS]
    shares = [each / total for each in [*seconds, total - sum(seconds)]]
    return total, shares, total / (spent["updates"] + spent["environment"] + spent["resets"]) - 1.0


def measured(name: str, data: Any, arguments: argparse.Namespace) -> list[str]:
    """The cells of one line of the table."""
    widths = (arguments.width,) * 2
    made = algorithm(name, actor_widths=widths, critic_widths=widths)
    model = api.pretrain(made, data, steps=1, data_on="host", eval_episodes=0)

    def run() -> None:
        api.finetune(
            model, env=arguments.env, data=data, eval_episodes=0, steps=arguments.steps, lanes=arguments.lanes,
            collect=arguments.collect, precision=arguments.precision,
        )  # fmt: skip

    run()
    spent, cores = profiled(run)
    total, shares, loop = parts(spent)
    observation = data.observations[0]
    keys = None, jax.random.key(0), np.random.default_rng(0)
    actions = [microseconds(model.policy, observation, key) for key in keys]
    return [
        name, f"{arguments.steps / total:.3g}", *(f"{100.0 * share:.0f}%" for share in shares), f"{100.0 * loop:.1f}%",
        f"{cores:.1f}", f"{1e6 * spent['acting'] / arguments.steps:.0f}", *(f"{each:.0f}" for each in actions),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="AdroitHandDoor-v1?reward_type=sparse&sparse=1")
    parser.add_argument("--algorithms", nargs="*", default=["iql", "calql"])
    parser.add_argument("--width", type=int, default=256, help="of two hidden layers in all networks")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lanes", type=int, default=1, help="environments")
    parser.add_argument("--collect", type=int, default=50, help="steps of every environment before their updates")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    data = to_dataset(collect(Scripted("random"), arguments.env, episodes=10, seed=0), arguments.env, ())
    header = ["algorithm", "steps/s", *PARTS, "rest", "loop", "cores"]
    header += ["acting in the loop, us", "likeliest action, us", "sampled by a key, us", "by NumPy, us"]
    print(f"| {' | '.join(header)} |")
    print("|---" * len(header) + "|")
    for name in arguments.algorithms:
        print(f"| {' | '.join(measured(name, data, arguments))} |", flush=True)


if __name__ == "__main__":
    main()
