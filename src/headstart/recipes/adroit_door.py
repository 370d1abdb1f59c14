"""Adroit door: from 25 human demonstrations to a finetuned agent, with Cal-QL and flows beside their peers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from headstart.errors import unknown

ENVIRONMENT = "AdroitHandDoor-v1?reward_type=sparse&sparse=1"
"""-1 a step until the environment's own success (the hinge passes 1.35 rad), 0 and termination at it."""

RECORDING = ENVIRONMENT + "&steps=300"
"""The same with the time limit of the human demonstrations, for the roll-outs that join them."""

CLONE_STEPS = 20_000
"""Gradient steps of behaviour cloning."""

METHODS = ("calql", "cql", "iql", "rebrac", "fql", "qc", "qcfql", "rlpd")


@dataclasses.dataclass(frozen=True)
class AdroitDoor:
    """AdroitHandDoor with a sparse reward: pretrain on human demonstrations and roll-outs of their clone, finetune
    online, and compare Cal-QL, CQL, IQL, ReBRAC, FQL, QC, QC-FQL and RLPD (no pretraining, same data) with the clone
    itself.

    Data as published: the demonstrations and `rollouts` sampled episodes of a behaviour clone fitted to them; only
    successes are kept, each cut at its success.
    """

    small: bool = False
    """Settings for two cores, minutes instead of days; docs/results/adroit-door.md tells how they were found."""
    seeds: int = 3
    """Training seeds side by side."""
    methods: tuple[str, ...] = METHODS
    """Which methods to run."""
    demonstrations: str = "minari:D4RL/door/human-v2"
    """Source of the human demonstrations."""
    rollouts: int = 500
    """Episodes of the behaviour clone, successes and failures."""
    keep_failures: bool = False
    """Keep the episodes without success too."""
    offline_steps: int | None = None
    """Gradient steps offline (None: as published, or as --small has it)."""
    online_steps: int | None = None
    """Environment steps online (None: as published, or as --small has it)."""
    eval_episodes: int = 40
    """Episodes of every evaluation, of each seed."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import compare, prepare

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks)
        clone = self._clone(out / "bc", "tanh_gaussian", resume, sinks)
        data = self._data(clone, out / "data")
        _say(f"data: {data.episodes} episodes, {data.steps:,} steps")
        picture = compare(
            self._methods(out, clone, data, resume, sinks), data, ENVIRONMENT, out, seeds=self.seeds, score="success",
            title="Adroit door, sparse reward", eval_episodes=self.eval_episodes, baselines={"bc": clone},
            resume=resume, sinks=sinks,
        )  # fmt: skip
        print(f"picture: {picture}")

    # -- data -------------------------------------------------------------------------------------------------

    def _clone(self, out: Path, policy_kind: str, resume: bool, sinks: Collection[str]) -> Any:
        """A clone of all demonstrations, from raw observations (standardised ones give 0%)."""
        from headstart import api
        from headstart.algos.bc import BC
        from headstart.train.run import begun

        if (out / "artifact").exists():
            return api.Artifact.load(out)
        demonstrations = api.load(self.demonstrations)
        _say(f"cloning the demonstrations ({policy_kind})")
        return api.pretrain(
            BC(actor_widths=(512, 512), policy_kind=policy_kind), demonstrations, steps=CLONE_STEPS, out=out,
            resume=resume and begun(out), sinks=sinks,
        )  # fmt: skip

    def _data(self, clone: Any, out: Path) -> Any:
        """Demonstrations and roll-outs of their clone as the sparse task, filtered; kept in `out`."""
        from headstart import api
        from headstart.data import sources, transform
        from headstart.envs.collect import collect, sampling, to_dataset

        if out.exists():
            return api.load(f"arrays:{out}")
        _say(f"collecting {self.rollouts} roll-outs of the clone")
        episodes = collect(sampling(clone.policy, seed=0), RECORDING, episodes=self.rollouts, seed=0, lanes=20)
        rollouts = to_dataset(episodes, RECORDING, (f"clone of {self.demonstrations}, sampled",))
        demonstrations = transform.sparse_success(api.load(self.demonstrations))
        data = transform.concatenate([demonstrations, transform.sparse_success(rollouts)])
        if not self.keep_failures:
            data = transform.only_successes(data)
        sources.write(data, f"arrays:{out}")
        return data

    # -- methods ----------------------------------------------------------------------------------------------

    def _methods(self, out: Path, clone: Any, data: Any, resume: bool, sinks: Collection[str]) -> list[Any]:
        from headstart.recipes.compare import Method, mean_return

        settings = _small(mean_return(data, 0.99)) if self.small else _published()
        methods = []
        for name in self.methods:
            found = settings[name]
            online = dict(found["online"])
            if self.online_steps is not None:
                online["steps"] = self.online_steps
            online |= {"log_every": max(1, online["steps"] // 50), "eval_every": max(1, online["steps"] // 10)}
            offline_steps = found["offline_steps"]
            if self.offline_steps is not None and offline_steps:
                offline_steps = self.offline_steps
            start = clone if found.get("clone") == "tanh_gaussian" else None
            if found.get("clone") == "deterministic":
                start = self._clone(out / "bc-deterministic", "deterministic", resume, sinks)
            scale, shift = found.get("rewards", (1.0, 0.0))
            methods.append(Method(name, found["algorithm"], offline_steps, online, None, start, scale, shift))
        return methods


def _published() -> dict[str, dict[str, Any]]:
    """Adroit-binary settings of the papers' codes."""
    from headstart.algos.registry import algorithm

    conservative = {
        "actor_widths": (512, 512), "critic_widths": (512, 512, 512), "weight": 1.0,
        "actor_lr": 1e-4, "critic_lr": 3e-4,
    }  # fmt: skip
    online = {"steps": 1_000_000, "collect": 200, "updates_per_step": 1.0, "offline_share": 0.5}
    offline = {"offline_steps": 20_000, "online": online}
    return {
        # 10 r + 5 on rewards of -1 and 0, as Cal-QL's code has it for its own and for CQL.
        "calql": {"algorithm": algorithm("calql", **conservative), "rewards": (10.0, 5.0)} | offline,
        "cql": {"algorithm": algorithm("cql", **conservative), "rewards": (10.0, 5.0)} | offline,
        "iql": {"algorithm": algorithm("iql", expectile=0.7, inverse_temperature=0.5, dropout=0.1)} | offline,
        "rebrac": {"algorithm": algorithm("rebrac", behaviour_weight=0.1, critic_behaviour_weight=0.1)} | offline,
        # The flows' papers have Adroit with its dense reward alone; the minimum over critics is theirs for it.
        "fql": {"algorithm": algorithm("fql", q_agg="min")} | offline,
        "qc": {"algorithm": algorithm("qc", q_agg="min")} | offline,
        "qcfql": {"algorithm": algorithm("qcfql", q_agg="min")} | offline,
        "rlpd": {
            "algorithm": algorithm("rlpd"),
            "offline_steps": 0,
            "online": online | {"collect": 1, "updates_per_step": 20.0, "warmup": 5_000},
        },
    }


def _small(mean_return: float) -> dict[str, dict[str, Any]]:
    """Settings for two cores.

    The actor starts as the clone and keeps a term of likelihood; the critic starts at the data's mean return, regresses
    to Monte-Carlo returns first, backs up over 5 steps and holds LayerNorm; the temperature stays at 0.01.
    """
    from headstart.algos.registry import algorithm

    shared = {
        "actor_widths": (512, 512), "critic_widths": (256, 256), "critic_layer_norm": True, "critic_bias": mean_return,
        "n_step": 5, "batch_size": 128, "actor_lr": 1e-4,
    }  # fmt: skip
    conservative = shared | {
        "critic_lr": 1e-3, "weight": 1.0, "actions": 2, "importance_weights": False, "max_target_backup": False,
        "temperature_lr": 0.0, "initial_temperature": 0.01, "bc_steps": 1000, "bc_weight": 0.3, "reference_steps": 300,
    }  # fmt: skip
    online = {"steps": 20_000, "collect": 100, "updates_per_step": 0.5, "offline_share": 0.5}
    pretrained = {"offline_steps": 2_000, "online": online, "clone": "tanh_gaussian"}
    iql = {"policy_kind": "tanh_gaussian", "expectile": 0.7, "inverse_temperature": 0.5, "critic_lr": 5e-4}
    rebrac = {
        "behaviour_weight": 10.0, "critic_behaviour_weight": 0.2, "critic_lr": 3e-4, "actor_every": 1,
        "exploration_noise": 0.02,
    }  # fmt: skip
    flow = {"flow_steps": 5, "q_agg": "min", "actor_lr": 5e-4, "critic_lr": 5e-4}
    fresh = {"offline_steps": 6_000, "online": online}
    chunks = {name: setting for name, setting in shared.items() if name != "n_step"} | flow
    rlpd = {"critics": 4, "actor_every": 1, "initial_temperature": 0.1, "actor_lr": 3e-4, "critic_lr": 5e-4}
    return {
        "calql": {"algorithm": algorithm("calql", **conservative)} | pretrained,
        "cql": {"algorithm": algorithm("cql", **conservative)} | pretrained,
        "iql": {"algorithm": algorithm("iql", **shared | iql)} | pretrained,
        "rebrac": {"algorithm": algorithm("rebrac", **shared | rebrac)} | pretrained | {"clone": "deterministic"},
        "fql": {"algorithm": algorithm("fql", **shared | flow, alpha=300.0)} | fresh,
        "qc": {"algorithm": algorithm("qc", **chunks, best_of=4)} | fresh,
        "qcfql": {"algorithm": algorithm("qcfql", **chunks, alpha=300.0)} | fresh,
        "rlpd": {"algorithm": algorithm("rlpd", **shared | rlpd), "offline_steps": 0, "online": online},
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
