"""The one table of algorithms: name -> constructor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from headstart import config
from headstart.algos.bc import BC, GCBC
from headstart.algos.cql import CQL, CalQL
from headstart.algos.crl import CRL
from headstart.algos.discrete_cql import DiscreteCQL
from headstart.algos.fb import FB
from headstart.algos.fql import FQL, QC, QCFQL
from headstart.algos.gciql import GCIQL
from headstart.algos.gcivl import GCIVL
from headstart.algos.hilp import HILP
from headstart.algos.hiql import HIQL
from headstart.algos.icvf import ICVF
from headstart.algos.iql import IQL
from headstart.algos.lapo import LAPO
from headstart.algos.opal import OPAL
from headstart.algos.qrl import QRL
from headstart.algos.sac import RLPD, SAC
from headstart.algos.td3bc import TD3BC, ReBRAC
from headstart.errors import UsageError, unknown

KINDS: dict[str, type] = {
    "bc": BC,
    "cql": CQL,
    "crl": CRL,
    "discrete_cql": DiscreteCQL,
    "fb": FB,
    "fql": FQL,
    "gciql": GCIQL,
    "gcivl": GCIVL,
    "hilp": HILP,
    "hiql": HIQL,
    "icvf": ICVF,
    "iql": IQL,
    "lapo": LAPO,
    "opal": OPAL,
    "qrl": QRL,
    "sac": SAC,
    "td3bc": TD3BC,
}
"""Every algorithm by the name that stands in artifacts."""

PRESETS: dict[str, Callable[..., Any]] = {
    "calql": CalQL,
    "gcbc": GCBC,
    "qc": QC,
    "qcfql": QCFQL,
    "rebrac": ReBRAC,
    "rlpd": RLPD,
}
"""Named settings of the algorithms above."""

ALGORITHMS: dict[str, Callable[..., Any]] = KINDS | PRESETS
"""What a user may name."""


ONLINE = ("rlpd", "sac")
"""What learns by acting: on data alone nothing holds its values to what the data shows."""


def algorithm(name: str, **changes: Any) -> Any:
    """The algorithm of that name with some fields changed.

    Raises `UsageError` for an unknown name or field, with a "did you mean".

    >>> algorithm("calql", weight=1.0).calibrated
    True
    """
    if name not in ALGORITHMS:
        raise unknown("algorithm", name, ALGORITHMS)
    return config.replace(ALGORITHMS[name](), **changes)


def name_of(algorithm: Any) -> str:
    """The name under which an algorithm's kind is stored."""
    for name, kind in KINDS.items():
        if type(algorithm) is kind:
            return name
    if isinstance(algorithm, type):
        raise UsageError(f"expected an algorithm with its settings, found a class; write {algorithm.__name__}()")
    raise unknown("algorithm", type(algorithm).__name__, KINDS)


def to_json(algorithm: Any) -> dict[str, Any]:
    """{"name": kind, "config": every field}."""
    return {"name": name_of(algorithm), "config": config.to_json(algorithm)}


def from_json(data: dict[str, Any]) -> Any:
    """The algorithm that `to_json` described. Raises `UsageError` for names and fields it does not know."""
    if data["name"] not in KINDS:
        raise unknown("algorithm", data["name"], KINDS)
    return config.from_json(KINDS[data["name"]], data["config"], data["name"])


def title(algorithm: Any) -> str:
    """The name a reader expects: `calql` for a calibrated CQL, `gcbc` for BC with goals, else that of its kind (presets
    are only settings)."""
    kind = name_of(algorithm)
    if getattr(algorithm, "calibrated", False) and kind == "cql":
        return "calql"
    if kind == "bc" and algorithm.goals is not None:
        return "gcbc"
    return kind


def fields(name: str) -> list[dataclasses.Field]:
    """The fields of an algorithm by its name."""
    return list(dataclasses.fields(ALGORITHMS[name]()))
