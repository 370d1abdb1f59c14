"""Latent actions from observations alone, decoded by the few steps that have actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import unknown

if TYPE_CHECKING:
    from headstart.artifact import Artifact
    from headstart.data.dataset import Dataset

METHODS = {
    "bc": "BC on the labelled steps alone",
    "lapo": "LAPO, decoded by them",
    "lapo-bc": "BC on all steps, with the actions that LAPO reads",
    "bc-all": "BC on all steps with their true actions",
}
"""Name -> what it is."""

ENV = "pointmaze-medium-v0?task=1&sparse=1&repeat=5&steps=80"
"""From one corner of the maze to the opposite one, as it is seen by its coordinates; a decision is five steps."""

CONTROLLER, NOISE = "ogbench-maze?task=1", 0.5
"""Who walks the maze: to the goal by the shortest way, with noisy actions."""


@dataclasses.dataclass(frozen=True)
class LatentActions:
    """What watching is worth where few actions are known: LAPO learns from the observations of walks to the goal of a
    point maze, a small share of the steps decodes it, and behaviour cloning of that share stands beside it.

    Which steps are labelled is drawn anew for every training seed, and is the same for all methods.
    """

    methods: tuple[str, ...] = ("bc", "lapo", "bc-all")
    """Which methods to run: bc, lapo, lapo-bc, bc-all."""
    shares: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    """Shares of the steps that are labelled."""
    seeds: int = 5
    """Training seeds; each has its own pretrained model and its own labelled steps."""
    episodes: int = 200
    """Walks."""
    width: int = 64
    """Of the two hidden layers of all nets."""
    passive_steps: int = 2000
    """Gradient steps on observations."""
    steps: int = 500
    """Gradient steps of a decoder or a clone."""
    eval_episodes: int = 20
    """Episodes for each seed and share."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart import api
        from headstart.data import transform
        from headstart.recipes import shares
        from headstart.recipes.compare import prepare, resumable, say

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks, joining=("methods", "shares"))
        walks = self._walks(out / "data")
        say(f"lapo: {self.seeds} seeds, {self.passive_steps:,} gradient steps on observations")
        models = api.pretrain(
            self._lapo(False), transform.drop_actions(walks), steps=self.passive_steps, seeds=self.seeds,
            normalize=True, sinks=sinks, log_every=max(1, self.passive_steps // 20), **resumable(out / "lapo", resume),
        )  # fmt: skip
        results: dict[str, dict[float, shares.Scores]] = {}
        for name in self.methods:
            for share in (1.0,) if name == "bc-all" else self.shares:
                scores = [
                    shares.successes(
                        out / name / f"{share:g}" / str(seed),
                        partial(self._agent, name, share, seed, models.member(seed), walks),
                        ENV,
                        self.eval_episodes,
                    )
                    for seed in range(self.seeds)
                ]
                results.setdefault(name, {})[share] = scores
                say(f"{name}, {share:.1%} labelled: {shares.cell(scores)}")
        shares.tell("Latent actions", "labelled", results, METHODS, self.shares, walks.steps, out)

    def _agent(self, name: str, share: float, seed: int, model: Artifact, walks: Dataset) -> Artifact:
        """What one seed learns from its labelled steps."""
        from headstart import api
        from headstart.data import transform

        options = {"steps": self.steps, "seed": seed, "log_every": self.steps}
        labelled = walks if name == "bc-all" else transform.sample_steps(walks, share, seed)
        if name.startswith("lapo"):
            agent = api.finetune(model, data=labelled, algorithm=self._lapo(True), **options)
        if name == "lapo-bc":
            labelled = agent.with_actions(transform.drop_actions(walks))
        if name.endswith(("bc", "bc-all")):
            agent = api.pretrain(self._bc(), labelled, normalize=True, **options)
        return agent

    def _walks(self, folder: Path) -> Dataset:
        from headstart.recipes.data import collected

        return collected(folder, ENV, CONTROLLER, self.episodes, noise=NOISE)

    def _lapo(self, decode: bool) -> Any:
        from headstart.algos import registry

        widths = {"actor_widths": (self.width,) * 2, "model_widths": (self.width,) * 2}
        return registry.algorithm("lapo", decode=decode, actor_lr=1e-3, model_lr=1e-3, **widths)

    def _bc(self) -> Any:
        from headstart.algos import registry

        # Squared errors, as those of LAPO's decoder: likelihoods of a few dozen steps are easily too sure.
        return registry.algorithm("bc", policy_kind="deterministic", actor_widths=(self.width,) * 2, actor_lr=1e-3)
