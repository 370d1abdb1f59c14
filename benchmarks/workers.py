"""One measurement in a process of its own: `python benchmarks/workers.py LIBRARY TASK SECONDS` prints it as JSON.

Shapes of Adroit door (observation 39, action 28, 100k transitions, batch 256), random data. `speed.py` runs these in
turn. `launch` is the time from the start of the process to the end of the first gradient step.
"""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()

OBSERVATION, ACTION, TRANSITIONS, BATCH = 39, 28, 100_000, 256
EPISODE = 200


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained. `changes` and `precision` are ours alone: a peer is measured without them, as `problem`."""

    algorithm: str
    width: int
    changes: tuple[tuple[str, Any], ...] = ()
    precision: str = "float32"

    @property
    def problem(self) -> str:
        """The task of published arithmetic that it is another way to do."""
        return f"{self.algorithm}-{self.width}"

    @property
    def actor(self) -> tuple[int, ...]:
        return (self.width,) * 2

    @property
    def critic(self) -> tuple[int, ...]:
        """The official critic of Cal-QL on adroit has three layers of 512."""
        return (self.width,) * (3 if self.width == 512 else 2)


FOUR = (("gradient_samples", 4),)
TASKS = {
    f"calql-{width}{suffix}": Task("calql", width, changes, precision)
    for width in (512, 256)
    for suffix, changes, precision in (
        ("", (), "float32"), ("-k4", FOUR, "float32"), ("-bf16", (), "bfloat16"), ("-fast", FOUR, "bfloat16")
    )
} | {f"{name}-256": Task(name, 256) for name in ("iql", "td3bc", "bc")}  # fmt: skip


def arrays(transitions: int = TRANSITIONS):
    """Random episodes of 200 steps: observations, actions, rewards, ends of episodes."""
    import numpy as np

    rng = np.random.default_rng(0)
    observations = rng.standard_normal((transitions, OBSERVATION), np.float32)
    actions = 1.98 * rng.random((transitions, ACTION), np.float32) - np.float32(0.99)
    return observations, actions, -np.ones(transitions, np.float32), np.arange(transitions) % EPISODE == EPISODE - 1


def timed(step: Callable[[int], None], seconds: float) -> dict[str, float]:
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
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"rate": statistics.median(rates), "launch": launch, "memory_gb": memory}


def headstart(name: str, seconds: float) -> dict[str, float]:
    from headstart.algos.registry import algorithm

    task = TASKS[name]
    settings = {"actor_widths": task.actor, "batch_size": BATCH} | dict(task.changes)
    if task.algorithm != "bc":
        settings["critic_widths"] = task.critic
    if task.algorithm == "calql":
        settings["weight"] = 1.0
    training = Training(algorithm(task.algorithm, **settings), dataset(), precision=task.precision)
    return timed(training.step, seconds) | {"gflop": training.gflop()}


def dataset(transitions: int = TRANSITIONS) -> Any:
    """The arrays as a data set."""
    import numpy as np

    from headstart.data.dataset import Dataset

    observations, actions, rewards, ends = arrays(transitions)
    last = np.flatnonzero(ends)
    # Views, so that making it leaves no memory behind that would be taken for training's.
    episodes = (slice(end + 1 - EPISODE, end + 1) for end in last)
    following = np.append(observations, observations[:1], axis=0)
    return Dataset.from_episodes(
        {
            "observations": following[rows.start : rows.stop + 1], "actions": actions[rows], "rewards": rewards[rows]
        } for rows in episodes
    )  # fmt: skip


class Training:
    """An algorithm that learns from a data set as `pretrain` has it learn. data_bytes: of the columns that it reads."""

    def __init__(self, algorithm: Any, data: Any, seeds: int = 1, precision: str = "float32"):
        import jax

        from headstart.data.normalize import Normalizer
        from headstart.data.views import one_batch, table
        from headstart.train import updates

        self._update, normalizer = algorithm.update, Normalizer.of(data.spec)
        rows = table(data, algorithm.view())
        self.data_bytes = rows.nbytes
        keys = jax.random.split(jax.random.key(0), seeds)
        self._batch = one_batch(rows, algorithm.view(), normalizer)
        self._learner = updates.learner(updates.fresh(algorithm, data.spec, keys), algorithm, self._batch)
        rows = jax.device_put(rows)
        self._done = 0

        def advance(learner: Any, done: int, count: int) -> Any:
            return updates.from_table(
                algorithm, frozenset(), learner, keys, done, count, rows, normalizer, precision=precision
            )

        self._advance = advance

    def step(self, count: int) -> None:
        """So many gradient steps of every seed."""
        import jax

        self._learner = self._advance(self._learner, self._done, count)
        jax.block_until_ready(self._learner.count)
        self._done += count

    def gflop(self) -> float:
        """Of the matrix products in one gradient step of one seed."""
        import jax

        state = jax.tree.map(lambda leaf: leaf[0], self._learner.state)
        return product_flops(jax.make_jaxpr(self._update)(state, self._batch, jax.random.key(0)).jaxpr) / 1e9


def product_flops(jaxpr: Any) -> float:
    """Floating point operations of all matrix products in a program, its loops counted by their length, of the ways
    that it may take the dearest."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2.0 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        if equation.primitive.name == "cond":
            total += max(product_flops(branch.jaxpr) for branch in equation.params["branches"])
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += times * product_flops(inner)
    return total


def d3rlpy(name: str, seconds: float) -> dict[str, float]:
    import d3rlpy
    import numpy as np
    from d3rlpy.models.encoders import VectorEncoderFactory

    d3rlpy.logging.logger.info = lambda *_, **__: None
    task = TASKS[name]
    actor, critic = VectorEncoderFactory(list(task.actor)), VectorEncoderFactory(list(task.critic))
    common = {"actor_encoder_factory": actor, "critic_encoder_factory": critic, "batch_size": BATCH}
    config = {
        # As Cal-QL's code sets it for adroit: fixed weight, max-target backup, 10 actions of each kind.
        "calql": lambda: d3rlpy.algos.CalQLConfig(
            **common, conservative_weight=1.0, alpha_learning_rate=0.0, initial_alpha=1.0, n_action_samples=10,
            max_q_backup=True,
        ),
        "iql": lambda: d3rlpy.algos.IQLConfig(**common, value_encoder_factory=critic),
        "td3bc": lambda: d3rlpy.algos.TD3PlusBCConfig(**common),
        "bc": lambda: d3rlpy.algos.BCConfig(batch_size=BATCH, encoder_factory=actor),
    }[task.algorithm]()  # fmt: skip
    made = config.create(device=False)
    observations, actions, rewards, ends = arrays()
    none = np.zeros_like(rewards)
    data = d3rlpy.dataset.MDPDataset(observations, actions, rewards, none, ends.astype(np.float32))
    made.build_with_dataset(data)

    def step(count: int) -> None:
        for _ in range(count):
            made.update(data.sample_transition_batch(BATCH))

    return timed(step, seconds)


def peak(precision: str, seconds: float) -> dict[str, float]:
    """GFLOP/s of products of matrices in a precision, the machine's limit: of the size that Cal-QL's official critics
    take on CPUs, where larger ones are no faster; on accelerators of one that fills them."""
    import jax

    rows, width = (4096, 512) if jax.default_backend() == "cpu" else (8192, 4096)
    x = jax.numpy.ones((rows, width), precision)
    weight = jax.numpy.full((width, width), 1.0 / width, precision)
    many = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: y @ weight, x))

    def step(count: int) -> None:
        for _ in range(count):
            many(x).block_until_ready()

    found = timed(step, seconds)
    return found | {"gflops": found["rate"] * 20 * 2 * rows * width**2 / 1e9}


MEASURES = {"headstart": headstart, "d3rlpy": d3rlpy, "peak": peak}

if __name__ == "__main__":
    library, name, seconds = sys.argv[1:]
    print(json.dumps(MEASURES[library](name, float(seconds))))
