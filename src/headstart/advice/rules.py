"""The table: which facts recommend which recipe, which speak against one, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from headstart.advice.facts import Facts

LONG = 200
"""Steps of an episode from which two levels pay."""

SMALL = 10_000
"""Steps of data below which long training learns them by heart."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to do, step by step. algorithm, fields: what is trained, whose updates are counted. commands: as they are
    typed; {source}, {env}, {steps}, {online} and {labelled} are filled in; what stands in [ ] needs an environment."""

    title: str
    algorithm: str
    commands: tuple[str, ...]
    fields: tuple[tuple[str, object], ...] = ()


RECIPES: dict[str, Recipe] = {
    "calql": Recipe(
        "Cal-QL, then online",
        "calql",
        (
            "headstart pretrain calql --data {source} --steps {steps} [--env {env} ]--out runs/calql",
            "[headstart finetune runs/calql --env {env} --data {source} --steps {online} --out runs/calql-online]",
        ),
    ),
    "clone-calql": Recipe(
        "a clone of the data, then Cal-QL from it",
        "calql",
        (
            "headstart pretrain bc --policy-kind tanh_gaussian --data {source} --steps 20000 [--env {env} ]"
            "--out runs/bc",
            "headstart finetune runs/bc --algo calql --set bc_weight=0.3 --data {source} --steps {steps} "
            "[--eval-env {env} ]--out runs/calql",
            "[headstart finetune runs/calql --env {env} --data {source} --steps {online} --out runs/calql-online]",
        ),
    ),
    "iql": Recipe(
        "IQL",
        "iql",
        (
            "headstart pretrain iql --data {source} --steps {steps} [--env {env} ]--out runs/iql",
            "[headstart finetune runs/iql --env {env} --data {source} --steps {online} --out runs/iql-online]",
        ),
    ),
    "fql": Recipe(
        "flow Q-learning",
        "fql",
        (
            "headstart pretrain fql --data {source} --steps {steps} [--env {env} ]--out runs/fql",
            "[headstart finetune runs/fql --env {env} --data {source} --steps {online} --out runs/fql-online]",
        ),
    ),
    "discrete": Recipe(
        "discrete CQL, calibrated",
        "discrete_cql",
        (
            "headstart pretrain discrete_cql --calibrated --data {source} --steps {steps} [--env {env} ]--out runs/cql",
            "[headstart finetune runs/cql --env {env} --data {source} --steps {online} --out runs/cql-online]",
        ),
        (("calibrated", True),),
    ),
    "bc": Recipe(
        "behaviour cloning",
        "bc",
        ("headstart pretrain bc --data {source} --steps 20000 [--env {env} ]--out runs/bc",),
    ),
    "rlpd": Recipe(
        "RLPD: online from scratch, the data in every batch",
        "rlpd",
        ("headstart finetune scratch --algo rlpd --env {env} --data {source} --steps {online} --out runs/rlpd",),
    ),
    "tasks": Recipe(
        "IQL on all tasks at once",
        "iql",
        ("headstart pretrain iql --tasks --data {source} --steps {steps} --out runs/tasks",),
        (("tasks", True),),
    ),
    "goals": Recipe(
        "goal-conditioned: GCIVL",
        "gcivl",
        (
            "headstart pretrain gcivl --data {source} --steps {steps} --out runs/goals",
            "[headstart evaluate runs/goals --env {env}]",
        ),
    ),
    "far-goals": Recipe(
        "goal-conditioned, in two levels: HIQL",
        "hiql",
        (
            "headstart pretrain hiql --data {source} --steps {steps} --out runs/goals",
            "[headstart evaluate runs/goals --env {env}]",
        ),
    ),
    "labels": Recipe(
        "rewards from a few labelled successes, then IQL",
        "iql",
        (
            "headstart data label {source} --by classifier --examples FILE.json --out {labelled}",
            "headstart pretrain iql --data {labelled} --steps {steps} [--env {env} ]--out runs/iql",
        ),
    ),
    "skills": Recipe(
        "skills, told what to do later: HILP",
        "hilp",
        (
            "headstart pretrain hilp --data {source} --steps {steps} --out runs/skills",
            "headstart finetune runs/skills --prompt-rewards FILE.npz --data LABELLED --steps {steps} --out runs/task",
        ),
    ),
    "passive": Recipe(
        "a representation from observations alone (ICVF), then IQL on what has actions and rewards",
        "icvf",
        (
            "headstart pretrain icvf --activation relu --data {source} --steps {steps} --out runs/icvf",
            "headstart finetune runs/icvf --use trunks --algo iql --data LABELLED --steps {steps} --out runs/iql",
        ),
        (("activation", "relu"),),
    ),
    "passive-value": Recipe(
        "a value of goals from observations alone (GCIVL), to reward data that has actions",
        "gcivl",
        (
            "headstart pretrain gcivl --action-free --data {source} --steps {steps} --out runs/value",
            "headstart data label LABELLED --by distance --artifact runs/value --goal FILE.npz --out {labelled}",
        ),
        (("action_free", True),),
    ),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where `when` holds, `recipe` is worth a try, because of `reason`, in which facts are filled in."""

    recipe: str
    when: Callable[[Facts], bool]
    reason: str


@dataclasses.dataclass(frozen=True)
class Caution:
    """Where `when` holds, `what` is no good, because of `reason`, in which facts are filled in."""

    what: str
    when: Callable[[Facts], bool]
    reason: str


def continuous(facts: Facts) -> bool:
    return facts.actions == "continuous"


def task(facts: Facts) -> bool:
    """Actions, and rewards of one task that tell what is better."""
    return facts.actions != "none" and facts.learnable and facts.tasks <= 1


def control(facts: Facts) -> bool:
    """The same with continuous actions."""
    return task(facts) and continuous(facts)


def unrewarded(facts: Facts) -> bool:
    return facts.actions != "none" and not facts.learnable


RULES: tuple[Rule, ...] = (
    Rule("passive", lambda f: f.actions == "none", "no actions, but observations show which states follow which"),
    Rule("passive-value", lambda f: f.actions == "none", "how far states are apart can reward data that has actions"),
    Rule("tasks", lambda f: f.tasks > 1 and f.learnable and continuous(f), "one model shares what {tasks} tasks share"),
    Rule(
        "clone-calql",
        lambda f: control(f) and f.few and bool(f.env),
        "{episodes} episodes are few: an actor that starts as their clone stays where the values are known",
    ),
    Rule(
        "calql",
        lambda f: control(f) and not f.few and bool(f.env),
        "values held up by the returns in the data do not fall when online learning begins",
    ),
    Rule(
        "discrete",
        lambda f: task(f) and f.actions == "discrete",
        "actions are discrete, and rewards tell which are better",
    ),
    Rule("bc", lambda f: f.actions != "none" and f.solved, "{success:.0%} of the episodes succeed: copy them"),
    Rule("iql", control, "cheap, and never asks for values of actions outside the data"),
    Rule(
        "rlpd",
        lambda f: control(f) and bool(f.env) and bool(f.success),
        "{success:.0%} of the episodes succeed: where interaction is cheap, that may do without pretraining",
    ),
    Rule(
        "fql",
        lambda f: control(f) and not f.few,
        "a flow keeps several ways of acting apart, which a Gaussian would average",
    ),
    Rule(
        "far-goals",
        lambda f: unrewarded(f) and f.length >= LONG,
        "no rewards, but any later state can be a goal; half of the episodes have {length:,.0f} steps or more, and two "
        "levels reach further",
    ),
    Rule(
        "goals",
        lambda f: unrewarded(f) and f.length < LONG,
        "no rewards, but any later state of an episode can be a goal",
    ),
    Rule("labels", unrewarded, "some twenty labelled states of success are enough to have rewards"),
    Rule(
        "skills",
        lambda f: unrewarded(f) and continuous(f),
        "a task that is told later, by examples of its rewards, needs no more pretraining",
    ),
    Rule("bc", lambda f: f.actions != "none", "what everything else has to beat"),
)
"""The first ones count most."""

CAUTIONS: tuple[Caution, ...] = (
    Caution(
        "any training on the data as it is",
        lambda f: bool(f.broken),
        "{broken} hold NaN or infinity: repair or drop these rows first",
    ),
    Caution(
        "offline RL on these rewards",
        lambda f: f.moving and f.rewards in ("sparse", "dense"),
        "they are for another goal in every episode, which observations do not show: learn from goals, or collect for "
        "one (?task=1)",
    ),
    Caution(
        "offline RL on these rewards",
        lambda f: f.rewards == "constant",
        "all of them are the same, so all behaviour looks equally good",
    ),
    Caution(
        "offline RL on these rewards",
        lambda f: f.learnable and f.success == 0.0,
        "no episode succeeds: there is no success to which anything could be joined",
    ),
    Caution(
        "plain behaviour cloning",
        lambda f: f.learnable and f.success is not None and 0.0 < f.success < 0.9,
        "{success:.0%} of the episodes succeed, and it copies the others too",
    ),
    Caution(
        "plain behaviour cloning",
        lambda f: f.rewards == "dense" and f.success is None and f.best_gain > 0.05,
        "the best quarter of the episodes is far above the median, and it copies all alike",
    ),
    Caution(
        "CQL without calibration before going online",
        lambda f: task(f) and bool(f.env),
        "its values can lie below anything possible, and whatever is merely tried then looks better",
    ),
    Caution(
        "long pretraining",
        lambda f: f.steps < SMALL,
        "{steps:,} steps are learned by heart: keep episodes back, and rank what you get by headstart select",
    ),
    Caution(
        "hoping for stitching",
        lambda f: f.crossing is not None and f.crossing < 0.2,
        "{crossing:.0%} of the states lie near another episode's, so there is little to join",
    ),
    Caution(
        "keeping the data in memory",
        lambda f: not f.fits,
        "it takes more than half of what is free: headstart data convert {source} arrays:FOLDER",
    ),
    Caution(
        "trusting the bounds of actions",
        lambda f: f.beyond_one > 0,
        "{beyond_one:,} steps have some beyond ±1: they are scaled by the bounds of the spec; see that these are right",
    ),
    Caution(
        "the number of steps below, at first",
        lambda f: f.pixels,
        "images go through an encoder in every update: try a tenth, and see headstart watch for the rate",
    ),
)
