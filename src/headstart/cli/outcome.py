"""What a finished run says: how it scored, where its artifact is, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.artifact import Artifact
    from headstart.train.evaluate import Evaluation


def tell(artifact: Artifact, out: Path, env: str | None) -> None:
    """env: the environment that suggests itself."""
    if artifact.evaluation is not None:
        from headstart.train.evaluate import Evaluation

        show(Evaluation.from_json(artifact.evaluation))
    env = shlex.quote(env or "ENV")
    run = shlex.quote(str(out))
    print(f"artifact: {out / 'artifact'}")
    if not artifact.acts:
        how = "--set decode=true" if hasattr(artifact.algorithm, "decode") else "--algo ALGO --use trunks"
        print(f"next: headstart finetune {run} {how} --data SOURCE --steps N --out DIR")
        return
    view = artifact.algorithm.view()
    skills = bool(view.skill)
    print(f"next: headstart evaluate {run} --env {env}{' --prompt goal' * skills}")
    if view.chunk_observations:
        print(f"  or: headstart pretrain ALGO --skills {run} --data SOURCE --env {env} --steps N --out DIR")
        return
    # What imitates learns nothing online.
    how = " --prompt-rewards FILE.npz" if skills else "" if view.rewards or view.goals else " --algo ALGO"
    print(f"  or: headstart finetune {run}{how} --env {env} --steps N --out DIR")


def show(evaluation: Evaluation, how: str = "") -> None:
    """A line for each training seed, and one for all, under the environment and how it was acted in."""
    lines = {"all" if len(evaluation.seeds) > 1 else f"seed {evaluation.seeds[0]}": evaluation}
    if len(evaluation.seeds) > 1:
        lines = {f"seed {seed}": evaluation.member(i) for i, seed in enumerate(evaluation.seeds)} | lines
    print(evaluation.env + how)
    width = max(map(len, lines))
    for name, part in lines.items():
        print(f"  {name:<{width}}  {part.describe()}")
