"""A phase: one stretch of training, with what decides it, its evaluations, its files, and the artifact at its end."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart import config, nets
from headstart.algos import registry
from headstart.artifact import Artifact, Skills
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.tasks import TaskTable
from headstart.envs import factory
from headstart.envs.lanes import Lanes
from headstart.errors import TrainingError, UsageError
from headstart.spec import Spec
from headstart.train import acting, updates
from headstart.train.evaluate import Episode, Evaluation
from headstart.train.evaluate import evaluate as run_episodes
from headstart.train.run import Run
from headstart.train.sinks import Sink

EVALUATION_SEED = 1_000_000
"""Seed of the first episode of evaluations during training: far from the small numbers that users choose."""

EVALUATION_LANES = 10
"""Environments in which a policy is evaluated side by side."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """All that decides a stretch of training.

    name: "offline" (pretraining), "online", or "adapt" (finetuning on data alone). normalizer: as it will be kept.
    seeds: (S,) training seeds. settings: options of the verb that are kept in the artifact, `env` (where to evaluate,
    or None), `eval_episodes` and `eval_sample` among them. options: of the loop. source: what it goes on from.
    skills: the low level whose skills are the actions, or None. tasks: those that the algorithm acts on, or None; with
    them `settings` may hold a `task`, the one to act on. features: what its nets see in place of observations, leaves
    with an axis of members or of one for all; or None.

    Raises `UsageError` for evaluations of fewer than no episodes, for a share of batches that is to be of data where
    there is none, and for shifted images (`crop`) where there are none.
    """

    name: str
    algorithm: Any
    spec: Spec
    normalizer: Normalizer
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    options: Any
    source: Artifact | None
    data: Dataset | None
    skills: Skills | None = None
    tasks: TaskTable | None = None
    features: nets.Features | None = None

    def __post_init__(self):
        # Before the folder of the run is made.
        if self.settings["eval_episodes"] < 0:
            raise UsageError(f"expected at least 0 episodes (eval_episodes), found {self.settings['eval_episodes']}")
        if self.data is None:
            _require_no_share(self.options)
        if self.options.crop and not self.spec.images:
            raise UsageError(f"there are no images to shift (crop {self.options.crop}): {self.spec.describe()}")

    @property
    def lineage(self) -> tuple[dict[str, Any], ...]:
        """The source and its ancestors, oldest first."""
        return () if self.source is None else self.source.ancestry()

    @property
    def context(self) -> np.ndarray | None:
        """(c,) the vector of the task to act on; None where there is none."""
        return None if self.tasks is None or "task" not in self.settings else self.tasks.vector(self.settings["task"])

    def caution(self) -> None:
        """Say on standard error where learning from data alone will come to nothing."""
        if self.name == "online":
            return
        rewards = None if self.data is None or not self.algorithm.view().rewards else self.data.rewards
        if rewards is not None:
            same = rewards[self.data.transitions]
            # -1 a step and an end at the goal still tell short ways from long ones.
            if same.min() == same.max() and not (same[0] and self.data.terminations.any()):
                print(
                    f"warning: every reward in {self.data.provenance.source} is {same[0]:g}, so all behaviour is worth "
                    "the same; `headstart data label` gives rewards from little supervision",
                    file=sys.stderr,
                )
        if getattr(self.algorithm, "needs_interaction", False):
            print(
                f"warning: {registry.title(self.algorithm)} has nothing that keeps it near the data: without "
                "interaction it overestimates actions that nobody tried; iql, calql or rebrac learn from data alone",
                file=sys.stderr,
            )

    def fresh(self) -> tuple[Any, jax.Array]:
        """Fresh states of all seeds and the keys (S,) that they train with; those of successive phases differ."""
        drawn = jax.vmap(lambda seed: jax.random.split(jax.random.fold_in(jax.random.key(seed), len(self.lineage))))(
            np.asarray(self.seeds, np.uint32)
        )
        if self.features is None:
            return updates.fresh(self.algorithm, self.spec, drawn[:, 1]), drawn[:, 0]
        states = updates.fresh(self.algorithm, self.features.seen(self.spec), drawn[:, 1])
        frozen = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(self.seeds), *leaf.shape[1:])), self.features)
        return dataclasses.replace(states, nets=states.nets | {nets.FEATURES: frozen}), drawn[:, 0]

    def finished(self, out: str | Path | None, resume: bool) -> Artifact | None:
        """The artifact of the run in `out` where that is complete. Raises `UsageError` where it had other settings."""
        if not resume or out is None or not (Path(out) / "artifact").exists():
            return None
        self.run(out, resume)
        print(f"{out}: this run is complete, nothing was left to do", file=sys.stderr)
        return Artifact.load(Path(out) / "artifact")

    def run(self, out: str | Path | None, resume: bool, sinks: Collection[str | Sink] = ()) -> Running:
        """The run in the folder `out`, new or resumed (None: without files). Raises as `Run`."""
        described = {
            "phase": self.name,
            "algorithm": registry.to_json(self.algorithm),
            "options": config.to_json(self.options),
            "settings": self.settings,
            "seeds": list(self.seeds),
            "data": None if self.data is None else self.data.summary(),
            "source": None if self.source is None else self.source.digest,
        }
        if self.skills is not None:
            described["skills"] = self.skills.to_json()
        defaults = {
            "algorithm": registry.to_json(type(self.algorithm)()),
            "options": config.to_json(type(self.options)(self.options.steps)),
        }
        return Running(self, Run(out, described, resume, sinks, defaults))


class Running:
    """A phase that is being run: its evaluations, its files, and the artifact at its end."""

    def __init__(self, phase: Phase, run: Run):
        self.phase, self.run = phase, run
        self._lanes: Lanes | None = None

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if self._lanes is not None:
            self._lanes.close()
        # After an error wait for the checkpoint that is being written, but let that error be the one that is seen.
        with contextlib.suppress(*([TrainingError] if kind else [])):
            self.run.close()

    @property
    def evaluate(self) -> Callable[[Any, int], None] | None:
        """For a training loop: `evaluate(states, step)` plays episodes and records them; None where nobody asked."""
        episodes = self.phase.settings["eval_episodes"]
        return self._evaluate if self.phase.settings["env"] and episodes else None

    def _evaluate(self, states: Any, step: int) -> None:
        phase = self.phase
        env, episodes, count = phase.settings["env"], phase.settings["eval_episodes"], len(phase.seeds)
        if self._lanes is None:
            self._lanes = Lanes(env, count * min(EVALUATION_LANES, episodes))
        policies = acting.policies(phase.algorithm, states)
        draw = acting.drawn_keys(EVALUATION_SEED, count) if phase.settings["eval_sample"] else lambda: None
        view = phase.algorithm.view()

        def act(observations: Any, goals: Any = None) -> Any:
            context = None if goals is None else acting.context(view, phase.normalizer, goals)
            if phase.context is not None:
                context = acting.repeated(phase.context, observations)
            if view.skill:
                context = acting.towards(phase.algorithm, states, phase.normalizer, observations, context)
            return acting.act(policies, phase.normalizer, observations, keys=draw(), context=context)

        played = run_episodes(
            act, self._lanes, episodes=episodes, seed=EVALUATION_SEED, members=count,
            goals=view.towards_goals or view.skill > 0, low=phase.skills,
        )  # fmt: skip
        self.run.write(
            "episodes",
            [
                {"phase": phase.name, "step": step, "training_seed": seed, **episode.to_json()}
                for seed, member in zip(phase.seeds, played, strict=True)
                for episode in member
            ],
        )

    @property
    def latest(self) -> Evaluation | None:
        """The last evaluation in the run's own records: it may have been made before the run was killed and resumed."""
        lines = self.run.read("episodes")
        if not lines:
            return None
        lines = [line for line in lines if line["step"] == lines[-1]["step"]]
        episodes = [
            [Episode.from_json(line) for line in lines if line["training_seed"] == seed] for seed in self.phase.seeds
        ]
        return Evaluation(self.phase.settings["env"], self.phase.seeds, episodes)

    def artifact(self, states: Any) -> Artifact:
        """The states with all that is known of the phase, scored by its last evaluation."""
        phase, latest = self.phase, self.latest
        return Artifact(
            algorithm=phase.algorithm,
            spec=phase.spec,
            state=states,
            normalizer=phase.normalizer,
            seeds=phase.seeds,
            settings=phase.settings
            | {"phase": phase.name, "steps": phase.options.steps, "precision": phase.options.precision},
            data=phase.data.summary() if phase.data is not None else {},
            lineage=phase.lineage,
            evaluation=None if latest is None else latest.to_json(),
            skills=phase.skills,
            tasks=phase.tasks,
        )

    def finish(self, states: Any) -> Artifact:
        """The artifact; it is written before the checkpoints that led to it go."""
        artifact = self.artifact(states)
        if self.run.folder is not None:
            self.run.close()
            artifact.save(self.run.folder / "artifact", overwrite=True)
            self.run.drop_checkpoints()
        return artifact


def _require_no_share(options: Any) -> None:
    """Raise `UsageError` where options of online learning that is given no data speak of a part that is of it."""
    for field in dataclasses.fields(options):
        if field.name in ("offline_share", "final_offline_share", "mixture"):
            value = getattr(options, field.name)
            if value != field.default and value != 0.0:
                raise UsageError(f"offline data is asked for in batches ({field.name}), but none was given (data)")


def require_learned(algorithm: Any, states: Any, loaded: Collection[str] = ()) -> None:
    """Raise `UsageError` where components that the algorithm does not train would stay as they were drawn."""
    missing = states.nets.keys() - states.opt_state.keys() - {nets.FEATURES, *loaded}
    if missing:
        names = " and ".join(sorted(missing))
        raise UsageError(
            f"{registry.title(algorithm)} with these settings does not train {names}; finetune a model that has"
        )


def require_goals(algorithm: Any, env: str | None) -> None:
    """Raise `UsageError` where the algorithm is evaluated towards goals and the environment sets none."""
    view = algorithm.view()
    if env is not None and not view.actions:
        raise UsageError(
            f"{registry.title(algorithm)} learns from observations alone, so it has no policy for {env}; leave that "
            "out, or go on with an algorithm that acts"
        )
    if env is None or not (view.towards_goals or view.skill) or factory.sets_goals(env):
        return
    if view.skill:
        raise UsageError(
            f"{registry.title(algorithm)} is told goals by the environment, and {env} sets none; leave it out, and "
            "prompt with reward examples"
        )
    raise UsageError(
        f"{registry.title(algorithm)} acts towards goals, and {env} sets none; use an environment that gives "
        "one (goal in the info of its reset), or an algorithm without goals"
    )


def require_online(algorithm: Any) -> None:
    """Raise `UsageError` where an algorithm learns nothing from what it does itself."""
    view, title = algorithm.view(), registry.title(algorithm)
    if view.skill:
        raise UsageError(
            f"{title} learns skills from data, not a task online; prompt it with reward examples (artifact.prompt, "
            "--prompt-rewards FILE.npz) and go on with that, or have another algorithm decide on its skills (skills)"
        )
    if hasattr(algorithm, "low_level") and view.goals is None:
        raise UsageError(
            f"{title} learns skills from data, not a task online; have another algorithm decide on them (skills)"
        )
    if view.actions and not view.rewards and view.goals is None:
        raise UsageError(
            f"{title} imitates, and online there is nothing to imitate but itself; go on with an algorithm that learns "
            "from rewards (algorithm), or on data alone"
        )
