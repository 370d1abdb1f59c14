"""The verbs: load, pretrain, finetune, evaluate. Here and in `phase` data, algorithm, loop and artifact meet."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from headstart.algos import registry
from headstart.artifact import Artifact, Prompted, Skills, Use, features_of, start
from headstart.artifact import tasks as named
from headstart.artifact.skills import skills_for, spec_in
from headstart.data import sources, transform
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import table, with_share
from headstart.envs import factory
from headstart.envs import video as film
from headstart.errors import UsageError, unknown
from headstart.phase import EVALUATION_LANES, Phase, require_goals, require_learned, require_online
from headstart.spec import Spec
from headstart.train import acting, offline, online
from headstart.train.evaluate import Evaluation, takes
from headstart.train.evaluate import evaluate as run_episodes
from headstart.train.options import OfflineOptions, OnlineOptions, options_of
from headstart.train.run import require_free
from headstart.train.sinks import Sink
from headstart.train.sinks import require as require_sinks


def load(source: str | Dataset) -> Dataset:
    """The data of a source such as "minari:D4RL/door/human-v2"; see `headstart.data.sources.load`."""
    return source if isinstance(source, Dataset) else sources.load(source)


def pretrain(
    algorithm: Any,
    data: Dataset | str,
    *,
    steps: int,
    out: str | Path | None = None,
    seeds: int = 1,
    seed: int = 0,
    env: str | None = None,
    eval_episodes: int = 20,
    eval_sample: bool = False,
    normalize: bool = False,
    reward_scale: float = 1.0,
    reward_shift: float = 0.0,
    skills: Skills | Artifact | str | Path | None = None,
    task: str | None = None,
    resume: bool = False,
    sinks: Collection[str | Sink] = (),
    **options: Any,
) -> Artifact:
    """Train on data that does not grow.

    algorithm: an algorithm such as `CalQL(weight=1.0)`, or its name. data: a data set or a source.
    steps: gradient steps. out: run directory (None: nothing is written). seeds: training seeds side by side,
    numbered from `seed`. env: where to evaluate (None: not), over eval_episodes; eval_sample: by sampled actions, not
    the likeliest. normalize: standardise observations by the data. reward_scale, reward_shift: rewards become
    scale * reward + shift. skills: of a model (`Skills`, or the model itself), to be the algorithm's actions: it
    decides on one every so many steps, and rewards and discount are those of decisions; the artifact keeps that model.
    resume: go on with the run in `out`, or return its artifact where it is complete.
    task: the one that data which names none is of, and on which to act where algorithms do (`tasks`).
    sinks: where the numbers go besides the run's files: "tensorboard", "wandb", "mlflow", or objects with the methods
    of `headstart.train.sinks.Sink`. options: fields of `OfflineOptions`.

    Raises `UsageError` for what does not fit together, `DataError` for data that holds NaN, `TrainingError` for a loss
    that is not finite.

    >>> import headstart as hs
    >>> data = hs.load("minari:D4RL/door/human-v2")             # doctest: +SKIP
    >>> model = hs.pretrain(hs.CalQL(), data, steps=20_000)     # doctest: +SKIP
    """
    require_free(out, resume)
    require_sinks(sinks, out)
    algorithm = _algorithm(algorithm)
    options = options_of(OfflineOptions, algorithm, steps, options)
    skills = skills_for(algorithm, skills)
    data = _prepared(load(data), reward_scale, reward_shift, skills, algorithm)
    tasks, (data,) = named.settle(algorithm, None, task, env is not None, data)
    spec = data.spec
    if env is not None:
        theirs = spec_in(env, skills)
        spec.require(theirs, data.provenance.source, env)
        _require_choices(data, theirs, env)
        # The environment knows the bounds of actions; the data shows only those that were taken.
        spec = dataclasses.replace(spec, action=theirs.action)
    require_goals(algorithm, env)
    spec = algorithm.view().with_context(spec)
    members = _seeds(seed, seeds)
    rows = table(data, algorithm.view())
    normalizer = Normalizer.of(spec, data if normalize else None)
    settings = {
        "env": env, "reward_scale": reward_scale, "reward_shift": reward_shift, "normalize": normalize,
        "eval_episodes": eval_episodes, "eval_sample": eval_sample,
    }  # fmt: skip
    settings |= {} if task is None else {"task": task}
    phase = Phase("offline", algorithm, spec, normalizer, members, settings, options, None, data, skills, tasks)
    if (finished := phase.finished(out, resume)) is not None:
        return finished
    states, keys = phase.fresh()
    require_learned(algorithm, states)
    phase.caution()
    with phase.run(out, resume, sinks) as run:
        states = offline.train(
            algorithm, states, keys, rows, normalizer, options, run.run, members, evaluate=run.evaluate
        )
        return run.finish(states)


def finetune(
    artifact: Artifact | Prompted | str | Path | None,
    *,
    steps: int,
    env: str | None = None,
    data: Dataset | str | None = None,
    algorithm: Any = None,
    components: Mapping[str, str] | None = None,
    use: Use = "components",
    freeze: Collection[str] = (),
    out: str | Path | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    eval_env: str | None = None,
    eval_episodes: int = 20,
    eval_sample: bool = False,
    normalizer: Literal["keep", "extend"] = "keep",
    reward_scale: float | None = None,
    reward_shift: float | None = None,
    skills: Skills | Artifact | str | Path | None = None,
    task: str | None = None,
    prior_data: Dataset | str | None = None,
    prior_share: float = 0.5,
    resume: bool = False,
    sinks: Collection[str | Sink] = (),
    **options: Any,
) -> Artifact:
    """Adapt an artifact to a task: online in `env` (mixed with `data` where given), or on `data` alone.

    artifact: an artifact, its folder or its run's; a model of skills prompted by reward examples; None: from scratch
    (then `algorithm` is needed).
    steps: environment steps of each seed online, gradient steps otherwise.
    algorithm: another algorithm to go on with; components of the same name and shape are carried over. `BC` on data is
    supervised finetuning, any other offline RL. components: {component here: component of the artifact}, where names
    differ. use: what of the artifact serves: its components; the hidden layers of one of them as a start ("trunks");
    frozen features of its representation in place of observations ("features") or behind them ("features+observation");
    see `headstart.artifact.start`. freeze: components that stay as they are. seeds: number of training seeds, by
    default that of the artifact.
    seed: the first of them, which decide keys and environments; by default they are the artifact's (from 0 on where
    their number is another).
    eval_env: where to evaluate when there is no `env`. normalizer: keep the artifact's statistics, or extend
    them by those of `data`. reward_scale, reward_shift: by default those of the artifact.
    skills: as of `pretrain`, for what starts without any; an artifact keeps its own.
    task: the one to act on; data that names none is of it. prior_data: other data, such as that of pretraining, from
    which a share `prior_share` of every (offline) batch comes, the rest being from `data` (PTR, Kumar et al. 2022).
    sinks: as of `pretrain`. options: fields of `OnlineOptions` or `OfflineOptions`. Prints what is loaded, fresh and
    unused.

    Raises `UsageError` for what does not fit together.
    """
    if env is None and data is None:
        raise UsageError("finetuning needs an environment (env) for online learning, or data, or both")
    if env is not None and eval_env is not None:
        raise UsageError(
            "online finetuning is evaluated where it learns (env); another place (eval_env) is for data alone"
        )
    require_free(out, resume)
    require_sinks(sinks, out)
    if data is None and prior_data is not None:
        raise UsageError("other data (prior_data) joins that of the task; say which that is (data)")
    if isinstance(artifact, Prompted):
        task = task or artifact.task
        artifact = artifact.specialised() if artifact.task is None else artifact.artifact
    source = artifact if isinstance(artifact, Artifact | None) else Artifact.load(artifact)
    if source is None and algorithm is None:
        raise UsageError("from scratch there is no algorithm to go on with; name one (algorithm)")
    algorithm = source.algorithm if algorithm is None else _algorithm(algorithm)
    if env is not None:
        require_online(algorithm)
    kind = OfflineOptions if env is None else OnlineOptions
    options = options_of(kind, algorithm, steps, options)
    inherited = {} if source is None else source.settings
    reward_scale = inherited.get("reward_scale", 1.0) if reward_scale is None else reward_scale
    reward_shift = inherited.get("reward_shift", 0.0) if reward_shift is None else reward_shift
    skills = skills_for(algorithm, skills, source, components)
    features = features_of(source, algorithm, use)
    data, prior_data = (
        None if part is None else _prepared(load(part), reward_scale, reward_shift, skills, algorithm)
        for part in (data, prior_data)
    )
    if task is None and algorithm.view().tasks:
        task = inherited.get("task")
    tasks, (data, prior_data) = named.settle(algorithm, source, task, (env or eval_env) is not None, data, prior_data)
    if prior_data is not None:
        own, data = data.steps, transform.concatenate([data, prior_data])
    spec = _common_spec(source, data, env or eval_env, skills)
    spec = algorithm.view().with_context(dataclasses.replace(spec, context=tasks and tasks.context))
    require_goals(algorithm, env or eval_env)
    statistics = _statistics(source, spec, skills, normalizer, data)
    count = seeds if seeds is not None else 1 if source is None else len(source.seeds)
    inherits = source is not None and len(source.seeds) == count and seed is None
    members = source.seeds if inherits else _seeds(seed or 0, count)

    settings = {
        "env": env or eval_env, "reward_scale": reward_scale, "reward_shift": reward_shift, "freeze": sorted(freeze),
        "components": dict(components or {}), "normalizer": normalizer,
        "eval_episodes": eval_episodes, "eval_sample": eval_sample,
    }  # fmt: skip
    settings |= {} if task is None else {"task": task}
    settings |= {} if prior_data is None else {"prior_share": prior_share}
    settings |= {} if use == "components" else {"use": use}
    name = "online" if env else "adapt"
    phase = Phase(name, algorithm, spec, statistics, members, settings, options, source, data, skills, tasks, features)
    if (finished := phase.finished(out, resume)) is not None:
        return finished
    states, keys = phase.fresh()
    _require_components(states, freeze)
    loaded = ()
    if source is not None:
        states, report = start(source, algorithm, spec, states, components, use)
        loaded = report.loaded
        print(report.describe(), file=sys.stderr)
    require_learned(algorithm, states, loaded)
    phase.caution()
    if skills is not None:
        print(skills.describe(), file=sys.stderr)
    rows = None if data is None else table(data, algorithm.view())
    if prior_data is not None:
        rows = with_share(rows, own, 1.0 - prior_share, algorithm.view().batch_size)
    with phase.run(out, resume, sinks) as run:
        if env is None:
            states = offline.train(
                algorithm, states, keys, rows, statistics, options, run.run, members, "adapt", freeze, run.evaluate
            )
        else:
            lowest = (
                float(rows.rewards[data.transitions].min()) if rows is not None and rows.rewards is not None else 0.0
            )
            states = online.train(
                algorithm, states, keys, env, spec, statistics, options, run.run, members, rows,
                reward_scale, reward_shift, lowest, freeze, run.evaluate, skills, phase.context,
            )  # fmt: skip
        return run.finish(states)


def evaluate(
    artifact: Artifact | Prompted | str | Path,
    *,
    env: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    sample: bool = False,
    video: str | Path | None = None,
    task: str | None = None,
) -> Evaluation:
    """Play episodes with every training seed's policy of an artifact, or of a prompted model of skills or tasks.

    env: by default the one the artifact was trained or evaluated in. seed: of the first episode; the others count on.
    sample: draw actions instead of taking the most likely ones. video: a new .mp4 file that shows the best, the median
    and the worst of these episodes (extra `video`). task: of a model that acts on tasks, by default the one that it was
    trained for last.

    Where the environment has several tasks (OGBench's goals) and `env` chooses none, the episodes take them in turn.

    Raises `UsageError` where no environment is named, its observations or actions do not fit the artifact, or it sets
    no goals for an artifact that acts towards goals; and for a model of skills without a prompt.
    """
    if video is not None:
        film.require_new(video)
    model = artifact if isinstance(artifact, Artifact | Prompted) else Artifact.load(artifact)
    if isinstance(model, Artifact) and (task := task or (model.tasks and model.settings.get("task"))):
        model = model.prompt(task=task)
    artifact = model.artifact if isinstance(model, Prompted) else model
    if model is artifact and artifact.tasks is not None:
        raise UsageError(f"{artifact.title} acts on tasks, say on which (task): {', '.join(artifact.tasks.names)}")
    if model is artifact and artifact.algorithm.view().skill:
        raise UsageError(
            f"{artifact.title} acts on skills: say what to do by artifact.prompt(goal=... or reward_examples=...), on "
            "the command line by --prompt goal or --prompt-rewards FILE.npz"
        )
    artifact.require_policy()
    env = env or artifact.settings.get("env")
    if env is None:
        raise UsageError("the artifact names no environment; say which one (env)")
    artifact.env_spec.require(factory.spec(env), "the artifact", env)
    if model.goals:
        require_goals(artifact.algorithm, env)
    draw = acting.drawn_keys(seed, artifact.members) if sample else lambda: None
    tape = None if video is None else {}
    episodes = run_episodes(
        lambda observations, goals=None: model.act(observations, keys=draw(), context=goals), env,
        episodes=episodes, seed=seed, members=artifact.members, lanes=EVALUATION_LANES, goals=model.goals,
        low=artifact.skills, tape=tape,
    )  # fmt: skip
    evaluation = Evaluation(env, artifact.seeds, episodes)
    if video is not None:
        film.film(env, takes(evaluation, tape), video)
    return evaluation


def _algorithm(algorithm: Any) -> Any:
    if isinstance(algorithm, str):
        return registry.algorithm(algorithm)
    registry.name_of(algorithm)
    return algorithm


def _seeds(first: int, count: int) -> tuple[int, ...]:
    if not all(isinstance(number, int) for number in (first, count)) or count < 1 or first < 0:
        raise UsageError(f"expected at least one training seed from 0 on, found {count} from {first}")
    return tuple(range(first, first + count))


def _prepared(data: Dataset, scale: float, shift: float, skills: Skills | None, algorithm: Any) -> Dataset:
    view = algorithm.view()
    data.require_finite([name for name in ("actions", "rewards") if not getattr(view, name)])
    if view.actions and data.actions is None and hasattr(algorithm, "action_free"):
        raise UsageError(
            f"{data.provenance.source} holds no actions, from which the policy of {registry.title(algorithm)} learns; "
            "action_free (--action-free, --set action_free=true) leaves the policy out"
        )
    if skills is not None:
        data = skills.relabelled(data, algorithm.view().discount)
    return data if (scale, shift) == (1.0, 0.0) else transform.scale_rewards(data, scale, shift)


def _statistics(
    source: Artifact | None, spec: Spec, skills: Skills | None, normalizer: str, data: Dataset | None
) -> Normalizer:
    """The normaliser to go on with: the artifact's, with the bounds of actions where it knew none; for skills that are
    new, theirs; none from scratch."""
    if normalizer not in ("keep", "extend"):
        raise unknown("normalizer", normalizer, ("keep", "extend"))
    if source is not None and source.skills is skills:
        statistics = source.normalizer
    else:
        statistics = Normalizer.of(spec) if skills is None else skills.normalizer
    if source is not None and not source.acts:
        statistics = statistics.with_actions(spec)
    if normalizer == "extend":
        if source is None or data is None:
            raise UsageError("normalizer 'extend' needs an artifact and data to extend its statistics by")
        if statistics.observation_mean is None or not source.data_rows:
            lacks = "statistics" if source.data_rows else "record of how much data its statistics are from"
            raise UsageError(f"normalizer 'extend': the artifact holds no {lacks}; use 'keep'")
        statistics = statistics.extended(data, source.data_rows)
    return statistics


def _common_spec(source: Artifact | None, data: Dataset | None, env: str | None, skills: Skills | None) -> Spec:
    """The spec to go on with: the artifact's, else the environment's, else the data's; all must agree."""
    sides = []
    if skills is not None:
        sides.append((skills.spec, "the model of skills"))
    if source is not None:
        # What it did before it was given skills were other actions.
        spec = source.spec if source.skills is skills else dataclasses.replace(source.spec, action=None)
        sides.append((spec, "the artifact"))
    if env is not None:
        sides.append((spec_in(env, skills), env))
    if data is not None:
        sides.append((data.spec, data.provenance.source))
    (spec, name), *others = sides
    for other, other_name in others:
        spec.require(other, name, other_name)
    # What learned from observations alone leaves the actions to the others.
    spec = dataclasses.replace(spec, action=next((side.action for side, _ in sides if side.action is not None), None))
    if data is not None:
        _require_choices(data, spec, name)
    return spec


def _require_choices(data: Dataset, spec: Spec, name: str) -> None:
    """Raise `UsageError` where discrete data holds actions that `spec`, of what `name` says, does not know."""
    if spec.action is None or data.spec.action is None or not spec.action.discrete:
        return
    if data.spec.action.categories > spec.action.categories:
        raise UsageError(
            f"actions differ: {data.provenance.source} has {data.spec.action.describe()}, {name} has "
            f"{spec.action.describe()}; leave the others out, or use data of the same problem"
        )


def _require_components(states: Any, names: Collection[str]) -> None:
    for name in names:
        if name not in states.nets:
            raise unknown("component to freeze", name, states.nets)
    if set(states.opt_state) <= set(names):
        raise UsageError(f"nothing would learn: {', '.join(states.opt_state)} are all frozen; leave one out (freeze)")
