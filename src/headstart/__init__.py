"""Pretrain on a fixed pile of experience, then finetune to a good agent with little more of it.

>>> import headstart as hs
>>> data = hs.load("minari:D4RL/door/human-v2")                        # doctest: +SKIP
>>> model = hs.pretrain(hs.CalQL(), data, steps=20_000)                # doctest: +SKIP
>>> agent = hs.finetune(model, env="AdroitHandDoor-v1", steps=50_000)  # doctest: +SKIP
>>> hs.evaluate(agent, env="AdroitHandDoor-v1").describe()             # doctest: +SKIP
>>> agent.save("door")                                                 # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "headstart.advice.advise": ("Advice", "advise"),
    "headstart.algorithm": ("View",),
    "headstart.algos.registry": (
        "BC",
        "CQL",
        "CRL",
        "FB",
        "FQL",
        "GCBC",
        "GCIQL",
        "GCIVL",
        "HILP",
        "HIQL",
        "ICVF",
        "IQL",
        "LAPO",
        "OPAL",
        "QC",
        "QCFQL",
        "QRL",
        "RLPD",
        "SAC",
        "TD3BC",
        "CalQL",
        "DiscreteCQL",
        "ReBRAC",
    ),
    "headstart.api": ("Evaluation", "evaluate", "finetune", "load", "pretrain"),
    "headstart.artifact": ("Artifact", "Skills"),
    "headstart.batch": ("Batch",),
    "headstart.data.dataset": ("Dataset",),
    "headstart.data.normalize": ("Normalizer",),
    "headstart.diagnostics.diagnose": ("diagnose",),
    "headstart.diagnostics.findings": ("Diagnosis", "Finding"),
    "headstart.errors": ("ArtifactError", "DataError", "HeadstartError", "TrainingError", "UsageError"),
    "headstart.labels.label": ("label",),
    "headstart.selection.select": ("select",),
    "headstart.spec": ("ArraySpec", "Spec"),
    "headstart.state": ("State",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
"""Name -> the module that defines it, imported when the name is first used: JAX alone takes a second."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = _version()
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("headstart")
    except metadata.PackageNotFoundError:
        return "source"
