"""Gradient steps a second, ours beside peers, interleaved in one run.

    python benchmarks/speed.py --repeats 3 --seconds 10 --out speed.json

Shapes of Adroit door (observation 39, action 28, 100k transitions, batch 256), random data, float32. Every measurement
is a process of its own, ours and the peer's in turn, so that a noisy machine treats both alike. A peer that is not
installed is left out (`pip install 'headstart[bench]'`). `launch` is the time from the start of the process to the
end of the first gradient step.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

STARTED = time.perf_counter()

OBSERVATION, ACTION, TRANSITIONS, BATCH = 39, 28, 100_000, 256
EPISODE = 200

TASKS = {
    "calql-512": {"actor": (512, 512), "critic": (512, 512, 512)},
    "calql-256": {"actor": (256, 256), "critic": (256, 256)},
    "iql-256": {"actor": (256, 256), "critic": (256, 256)},
    "td3bc-256": {"actor": (256, 256), "critic": (256, 256)},
    "bc-256": {"actor": (256, 256), "critic": ()},
}


def arrays():
    """Random episodes of 200 steps: observations, actions, rewards."""
    import numpy as np

    rng = np.random.default_rng(0)
    observations = rng.standard_normal((TRANSITIONS, OBSERVATION)).astype(np.float32)
    actions = rng.uniform(-0.99, 0.99, (TRANSITIONS, ACTION)).astype(np.float32)
    rewards = -np.ones(TRANSITIONS, np.float32)
    return observations, actions, rewards


def timed(step, seconds: float) -> dict[str, float]:
    """`step(count)` does so many gradient steps. Rates of as many windows as fit in the seconds."""
    step(1)
    launch = time.perf_counter() - STARTED
    step(1)
    begun = time.perf_counter()
    step(2)
    count = max(1, int(2.0 / max((time.perf_counter() - begun) / 2.0, 1e-9)))
    rates, begun = [], time.perf_counter()
    while not rates or time.perf_counter() - begun < seconds:
        window = time.perf_counter()
        step(count)
        rates.append(count / (time.perf_counter() - window))
    import resource

    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"rate": statistics.median(rates), "launch": launch, "memory_gb": memory}


def ours(task: str, seconds: float) -> dict[str, float]:
    import jax
    import numpy as np

    from headstart.algos.registry import algorithm
    from headstart.data.dataset import Dataset
    from headstart.data.normalize import Normalizer
    from headstart.data.views import gather, table
    from headstart.train import updates

    name, nets = task.split("-")[0], TASKS[task]
    settings = {"actor_widths": nets["actor"], "batch_size": BATCH}
    if nets["critic"]:
        settings["critic_widths"] = nets["critic"]
    if name == "calql":
        settings["weight"] = 1.0
    made = algorithm(name, **settings)
    observations, actions, rewards = arrays()
    timeouts = np.arange(TRANSITIONS) % EPISODE == EPISODE - 1
    data = Dataset.from_arrays(observations, actions, rewards, timeouts=timeouts, next_observations=observations)
    normalizer = Normalizer.of(data.spec)
    rows = table(data, made.view())
    keys = jax.random.split(jax.random.key(0), 1)
    states = updates.fresh(made, data.spec, keys)
    batch = gather(rows, rows.rows[:BATCH], made.view(), normalizer)
    learner = [updates.learner(states, made, batch)]
    rows = jax.tree.map(jax.numpy.asarray, rows)
    done = [0]

    def step(count: int) -> None:
        learner[0] = updates.from_table(made, frozenset(), learner[0], keys, done[0], count, rows, normalizer)
        jax.block_until_ready(learner[0].count)
        done[0] += count

    return timed(step, seconds)


def d3rlpy(task: str, seconds: float) -> dict[str, float]:
    import d3rlpy
    import numpy as np
    from d3rlpy.models.encoders import VectorEncoderFactory

    d3rlpy.logging.logger.info = lambda *_, **__: None
    nets = TASKS[task]
    actor, critic = VectorEncoderFactory(list(nets["actor"])), VectorEncoderFactory(list(nets["critic"] or (1,)))
    encoders = {"actor_encoder_factory": actor, "critic_encoder_factory": critic, "batch_size": BATCH}
    config = {
        # As Cal-QL's code sets it for adroit: fixed weight, max-target backup, 10 actions of each kind.
        "calql": lambda: d3rlpy.algos.CalQLConfig(
            **encoders, conservative_weight=1.0, alpha_learning_rate=0.0, initial_alpha=1.0, n_action_samples=10,
            max_q_backup=True,
        ),
        "iql": lambda: d3rlpy.algos.IQLConfig(**encoders, value_encoder_factory=critic),
        "td3bc": lambda: d3rlpy.algos.TD3PlusBCConfig(**encoders),
        "bc": lambda: d3rlpy.algos.BCConfig(batch_size=BATCH, encoder_factory=actor),
    }[task.split("-")[0]]()  # fmt: skip
    algorithm = config.create(device=False)
    observations, actions, rewards = arrays()
    timeouts = (np.arange(TRANSITIONS) % EPISODE == EPISODE - 1).astype(np.float32)
    data = d3rlpy.dataset.MDPDataset(observations, actions, rewards, np.zeros_like(rewards), timeouts)
    algorithm.build_with_dataset(data)

    def step(count: int) -> None:
        for _ in range(count):
            algorithm.update(data.sample_transition_batch(BATCH))

    return timed(step, seconds)


LIBRARIES = {"headstart": ours, "d3rlpy": d3rlpy}


def measure(library: str, task: str, seconds: float) -> dict[str, float] | None:
    """One measurement in a process of its own; None where the library is not installed."""
    command = [sys.executable, __file__, "--worker", library, task, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if f"No module named '{library}'" in done.stderr:
            return None
        raise SystemExit(f"{library} {task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def versions() -> dict[str, str]:
    from importlib import metadata

    found = {"python": platform.python_version(), "cpu": platform.processor() or platform.machine()}
    for package in ("headstart", "jax", "jaxlib", "d3rlpy", "torch", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def main() -> None:
    import os

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--out", help="JSON file to write")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, task = arguments.worker
        print(json.dumps(LIBRARIES[library](task, arguments.seconds)))
        return
    results: dict[str, dict[str, list]] = {task: {library: [] for library in LIBRARIES} for task in arguments.tasks}
    for _ in range(arguments.repeats):
        for task in arguments.tasks:
            for library in LIBRARIES:
                if (found := measure(library, task, arguments.seconds)) is not None:
                    results[task][library].append(found)
    print("| task | headstart steps/s | d3rlpy steps/s | ratio | headstart launch s | memory GB |")
    print("|---|---|---|---|---|---|")
    for task, found in results.items():
        mine, theirs = found["headstart"], found["d3rlpy"]

        def spread(runs, name):
            values = [run[name] for run in runs]
            return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"

        ratio = (
            statistics.median(r["rate"] for r in mine) / statistics.median(r["rate"] for r in theirs) if theirs else 0
        )
        print(
            f"| {task} | {spread(mine, 'rate')} | {spread(theirs, 'rate') if theirs else 'absent'} "
            f"| {f'{ratio:.2f}' if theirs else '-'} | {spread(mine, 'launch')} "
            f"| {statistics.median(r['memory_gb'] for r in mine):.2f} |"
        )
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({"versions": versions(), "cores": os.cpu_count(), "results": results}, file, indent=2)


if __name__ == "__main__":
    main()
