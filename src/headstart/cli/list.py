"""`headstart list`: what there is to name."""

from __future__ import annotations

import importlib

from headstart.cli import parse
from headstart.errors import UsageError


def main(args: list[str]) -> None:
    if not args:
        print("\n\n".join(f"{kind}\n{parse.listing(KINDS[kind]())}" for kind in KINDS))
        return
    about = {kind: parse.first_line(of) for kind, of in KINDS.items()}
    kind, rest = parse.choose(args, "headstart list", "kind", about)
    if rest:
        raise UsageError(f"headstart list {kind} takes no more arguments, found {rest[0]}")
    print(parse.listing(KINDS[kind]()))


def algorithms() -> dict[str, str]:
    """What can be trained."""
    from headstart.algos.registry import ALGORITHMS

    return {name: parse.first_line(make) for name, make in ALGORITHMS.items()}


def recipes() -> dict[str, str]:
    """Complete experiments for `headstart run`."""
    from headstart.cli.run import recipe
    from headstart.recipes import RECIPES

    return {name: parse.first_line(recipe(name)) for name in RECIPES}


def formats() -> dict[str, str]:
    """Layouts of data that can be read, as in minari:ID."""
    from headstart.data.sources import FORMATS, WRITABLE

    about = {name: parse.first_line(importlib.import_module(module)) for name, module in FORMATS.items()}
    return {name: f"{line} ({'read and written' if name in WRITABLE else 'read'})" for name, line in about.items()}


def controllers() -> dict[str, str]:
    """Who can act in `headstart data collect`."""
    from headstart.envs.controllers import CONTROLLERS

    own = {"module:attribute": "Your own, found on the path or in the current folder"}
    return {name: parse.first_line(make) for name, make in CONTROLLERS.items()} | own


def environments() -> dict[str, str]:
    """Where to act, as ID or "ID?key=value&..."."""
    from headstart.envs.tabular import NAMESPACE, PROBLEMS

    return {f"{NAMESPACE}{name}": parse.first_line(make) for name, make in PROBLEMS.items()} | {
        "ID": "Any of Gymnasium's, such as AdroitHandDoor-v1 (extra mujoco) or pointmaze-medium-v0 (extra ogbench)",
        "?task=I": "Always task I of an environment that has several, such as OGBench's goals",
        "?goal=1": "Hand desired_goal out as the episode's goal, where observations have it beside achieved_goal",
        "?sparse=1": "Reward -1 until the step that solves the task and ends the episode, 0 there",
        "?repeat=K": "Every action K times",
        "?steps=N": "Time limit of N decisions",
    }


KINDS = {of.__name__: of for of in (algorithms, recipes, formats, controllers, environments)}
"""Kind -> function that gives {name: one line of help}."""
