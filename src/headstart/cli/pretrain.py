"""`headstart pretrain`: train on data that does not grow."""

# No `from __future__ import annotations`: the types below are made while the program runs.
import dataclasses
from pathlib import Path

from headstart.algos import registry
from headstart.cli import outcome, parse
from headstart.cli import prompt as prompts
from headstart.train.options import OfflineOptions

FIELDS = """\
Every field of an algorithm is a flag: --batch-size 512, lists as --actor-widths 256 256, switches as --layer-norm and
--no-layer-norm. What is not given has the published value, which --help shows."""


def main(args: list[str]) -> None:
    about = {name: parse.first_line(make) for name, make in registry.ALGORITHMS.items()}
    name, rest = parse.choose(args, "headstart pretrain", "algorithm", about, FIELDS)
    from tyro.conf import OmitArgPrefixes as Flat

    preset = registry.algorithm(name)

    def pretrain(
        *,
        data: str,
        out: Path,
        seeds: int = 1,
        seed: int = 0,
        env: str | None = None,
        eval_episodes: int = 20,
        eval_sample: bool = False,
        normalize: bool = False,
        reward_scale: float = 1.0,
        reward_shift: float = 0.0,
        task: str | None = None,
        skills: Path | None = None,
        skill_steps: int | None = None,
        skill_seed: int | None = None,
        resume: bool = False,
        sink: tuple[str, ...] = (),
        training: Flat[OfflineOptions],
        algorithm: Flat[type(preset)] = preset,
    ) -> None:
        """Train on data that does not grow, and write an artifact.

        Args:
            data: Where the data is: minari:ID_OR_FOLDER, d4rl:FILE.hdf5, ogbench:NAME_OR_FILE.npz, arrays:FILE.npz,
                arrays:FOLDER, or tasks:FILE.json with a source for each of several tasks.
            out: Folder of the run; what is there is never overwritten.
            seeds: Training seeds, trained side by side.
            seed: The first training seed; the others count on from it.
            env: Environment in which to evaluate, "ID" or "ID?key=value&..."; none: no evaluation.
            eval_episodes: Episodes of an evaluation, for each training seed; 0: no evaluation.
            eval_sample: Evaluate by sampled actions instead of the most likely ones.
            normalize: Standardise observations by the data's statistics.
            reward_scale: Rewards become scale * reward + shift.
            reward_shift: The shift.
            task: Task that data which names none is of, and on which to act (with --tasks).
            skills: Folder of a model whose skills are to be the actions (opal, hilp, fb, hiql): the algorithm decides
                on one every few steps, and rewards and discount are those of decisions.
            skill_steps: Steps of the environment that a skill lasts; by default as that model was trained.
            skill_seed: The training seed of that model, where it has several.
            resume: Go on with the run in --out, started with the same settings, where it stopped.
            sink: Where the numbers go besides the run's files: tensorboard, wandb, mlflow (extras of these names).
        """
        from headstart import api

        artifact = api.pretrain(
            algorithm, data, out=out, seeds=seeds, seed=seed, env=env, eval_episodes=eval_episodes,
            eval_sample=eval_sample, normalize=normalize, reward_scale=reward_scale, reward_shift=reward_shift,
            skills=prompts.skills(skills, skill_steps, skill_seed),
            task=task, resume=resume, sinks=sink, **dataclasses.asdict(training),
        )  # fmt: skip
        outcome.tell(artifact, out, env)

    parse.call(pretrain, rest, f"headstart pretrain {name}")
