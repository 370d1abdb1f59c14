"""`headstart finetune`: adapt an artifact to a task."""

# No `from __future__ import annotations`: the types below are made while the program runs.
import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from headstart.algos import registry
from headstart.cli import outcome, parse
from headstart.cli import prompt as prompts
from headstart.errors import UsageError
from headstart.train.options import OfflineOptions, OnlineOptions

SCRATCH = "scratch"


def main(args: list[str]) -> None:
    from tyro.conf import OmitArgPrefixes as Flat
    from tyro.conf import Positional, arg

    given = parse.given(args)
    kind = OfflineOptions if "--data" in given and "--env" not in given else OnlineOptions
    _require_fitting(given, kind)

    def finetune(
        artifact: Annotated[str, Positional, arg(metavar="ARTIFACT")],
        *,
        out: Path,
        env: str | None = None,
        data: str | None = None,
        algo: str | None = None,
        set: tuple[str, ...] = (),
        components: tuple[str, ...] = (),
        use: Literal["components", "trunks", "features", "features+observation"] = "components",
        freeze: tuple[str, ...] = (),
        normalizer: Literal["keep", "extend"] = "keep",
        seeds: int | None = None,
        seed: int | None = None,
        eval_env: str | None = None,
        eval_episodes: int = 20,
        eval_sample: bool = False,
        reward_scale: float | None = None,
        reward_shift: float | None = None,
        task: str | None = None,
        prior_data: str | None = None,
        prior_share: float = 0.5,
        skills: Path | None = None,
        skill_steps: int | None = None,
        skill_seed: int | None = None,
        resume: bool = False,
        sink: tuple[str, ...] = (),
        prompt_rewards: Annotated[Path | None, arg(metavar="FILE.npz")] = None,
        training: Flat[kind],
    ) -> None:
        """Adapt an artifact to a task: online in --env (mixed with --data where given), or on --data alone.

        The training options below are those of online finetuning; with --data alone they are those of pretraining
        (see `headstart finetune --data SOURCE --help`).

        Args:
            artifact: Folder of an artifact or of the run that made it; scratch: new networks (with --algo).
            out: Folder of the run; what is there is never overwritten.
            env: Environment to learn in, "ID" or "ID?key=value&...".
            data: Where data is, as for pretraining.
            algo: Another algorithm to go on with; components of the same name and shape are carried over. bc on data
                is supervised finetuning.
            set: Fields of the algorithm, as FIELD=VALUE (lists as FIELD=[256,256]). The others are as in the artifact,
                or with --algo as they are by default.
            components: Where names differ, as HERE=THERE: the component of the artifact that each one is loaded from;
                those that are not named start fresh.
            use: What of the artifact serves: its components as they are; trunks, the hidden layers of one (its
                representation or value) as a start of those here; features, what its representation sees in
                observations, frozen, in their place; features+observation, behind them.
            freeze: Components that stay as they are.
            normalizer: Keep the artifact's statistics, or extend them by those of --data.
            seeds: Number of training seeds, by default that of the artifact.
            seed: The first training seed; the others count on from it. By default they are the artifact's.
            eval_env: Where to evaluate when there is no --env.
            eval_episodes: Episodes of an evaluation, for each training seed; 0: no evaluation.
            eval_sample: Evaluate by sampled actions instead of the most likely ones.
            reward_scale: Rewards become scale * reward + shift; by default as in the artifact.
            reward_shift: The shift.
            task: Of a model that acts on tasks, the one to act on; data that names none is of it.
            prior_data: Other data, such as that of pretraining, mixed with --data.
            prior_share: Part of every batch (of its offline part, with --env) that comes from --prior-data.
            skills: Folder of a model whose skills are to be the actions (opal, hilp, fb, hiql), decided on every few
                steps; for what has none, since an artifact keeps its own.
            skill_steps: Steps of the environment that a skill lasts; by default as that model was trained.
            skill_seed: The training seed of that model, where it has several.
            resume: Go on with the run in --out, started with the same settings, where it stopped.
            sink: Where the numbers go besides the run's files: tensorboard, wandb, mlflow (extras of these names).
            prompt_rewards: Of a model of skills, go on with the skill that collects the rewards in this file:
                observations (n, ...) and the rewards (n,) of being there.
        """
        from headstart import api

        source, algorithm = _start(artifact, algo, parse.values(set, "--set"), prompt_rewards)
        result = api.finetune(
            source, env=env, data=data, algorithm=algorithm, out=out, seeds=seeds, seed=seed, freeze=freeze,
            components=parse.assignments(components, "--components") or None, use=use, normalizer=normalizer,
            eval_env=eval_env, eval_episodes=eval_episodes, eval_sample=eval_sample, reward_scale=reward_scale,
            reward_shift=reward_shift, skills=prompts.skills(skills, skill_steps, skill_seed),
            task=task, prior_data=prior_data, prior_share=prior_share, resume=resume, sinks=sink,
            **dataclasses.asdict(training),
        )  # fmt: skip
        inherited = None if source is None else source.settings.get("env")
        outcome.tell(result, out, env or eval_env or inherited)

    parse.call(finetune, args, "headstart finetune")


def _require_fitting(given: list[str], kind: type) -> None:
    """Raise `UsageError` for flags of the other kind of finetuning, and for fields of algorithms."""
    mine = parse.flags(kind)
    other, when = (OnlineOptions, "with --env") if kind is OfflineOptions else (OfflineOptions, "on --data alone")
    of_algorithms = {flag for made in registry.KINDS.values() for flag in parse.flags(made)}
    for flag in given:
        if flag in parse.flags(other) - mine:
            raise UsageError(f"{flag} is an option of finetuning {when}; it does not apply here")
        if flag in of_algorithms:
            field = flag.removeprefix("--").replace("-", "_")
            raise UsageError(f"{flag} is a field of algorithms; write --set {field}=VALUE")


def _start(artifact: str, algo: str | None, changes: dict[str, Any], prompt_rewards: Path | None) -> tuple[Any, Any]:
    """The artifact (None: from scratch) and the algorithm to go on with (None: its own)."""
    from headstart import config

    if artifact == SCRATCH:
        if prompt_rewards is not None:
            raise UsageError("--prompt-rewards is for a model of skills; there is none to start from")
        if algo is None:
            raise UsageError("from scratch there is no algorithm to go on with; name one with --algo")
        return None, registry.algorithm(algo, **changes)
    algorithm = None if algo is None else registry.algorithm(algo, **changes)
    loaded = prompts.load(artifact, None, prompt_rewards)
    loaded = loaded if prompt_rewards is None else loaded.specialised()
    if algorithm is None and changes:
        algorithm = config.replace(loaded.algorithm, **changes)
    return loaded, algorithm
