"""What a training loop may be told. Apart from the loops, so that the command line reads it without importing JAX."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Literal

from headstart import config
from headstart.errors import UsageError


@dataclasses.dataclass(frozen=True)
class OfflineOptions:
    """How long, and what to write when. Steps are gradient steps."""

    steps: int
    """Gradient steps."""
    log_every: int = 1_000
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 0
    """Steps between evaluations; 0: only at the end."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints; 0: none but on interruption."""
    data_on: Literal["auto", "device", "host"] = "auto"
    """Where batches are drawn; auto: on the device where the data fits."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products in updates. bfloat16: of rounded inputs, summed in float32; parameters stay float32."""
    crop: int = 0
    """Pixels by which images in batches are shifted at random, up to so many each way, all of a row alike (OGBench: 3,
    in half of the batches; DrQ: 4); 0: not."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 1, "steps")
        config.at_least(self, 0, "log_every", "eval_every", "checkpoint_every", "crop")


@dataclasses.dataclass(frozen=True)
class OnlineOptions:
    """How much experience, how it is used, and what to write when. Steps are environment steps of one seed."""

    steps: int
    """Environment steps (decisions) of each training seed."""
    lanes: int = 1
    """Environments of each seed."""
    collect: int = 10
    """Steps of each lane between two rounds of updates."""
    updates_per_step: float = 1.0
    """Gradient steps for each environment step (UTD)."""
    warmup: int = 0
    """First steps, taken by the policy as it came, before updates begin (WSRL: 5000)."""
    offline_share: float = 0.5
    """Part of every batch that comes from the offline data, where there is any."""
    final_offline_share: float | None = None
    """The same at the end of the run, linear between; None: constant."""
    mixture: Literal["share", "append"] = "share"
    """append: offline and online rows form one pool, drawn uniformly; the shares do not count."""
    buffer_rows: int = 1_000_000
    """Rows that the replay buffer of a seed holds."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products in updates. bfloat16: of rounded inputs, summed in float32; parameters stay float32."""
    crop: int = 0
    """Pixels by which images in batches are shifted at random, up to so many each way, all of a row alike (OGBench: 3,
    in half of the batches; DrQ: 4); 0: not."""
    log_every: int = 1_000
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 5_000
    """Steps between evaluations; 0: only before the first update and at the end."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints; 0: none but on interruption."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 1, "steps", "lanes", "collect", "buffer_rows")
        config.at_least(self, 0, "updates_per_step", "warmup", "log_every", "eval_every", "checkpoint_every", "crop")
        config.at_least(self, 0, "offline_share", "final_offline_share")
        config.at_most(self, 1, "offline_share", "final_offline_share")


def options_of(kind: type, algorithm: Any, steps: int, options: dict[str, Any]) -> Any:
    """Options of a loop by name, of which `steps` are settled.

    Raises `UsageError` for unknown names, and tells those that are fields of the algorithm.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    fields = {field.name for field in dataclasses.fields(algorithm)}
    for name in options.keys() - known:
        near = difflib.get_close_matches(name, known | fields, n=1)
        if near and near[0] in fields:
            raise UsageError(
                f"{name!r} is no option of training; {near[0]} is a field of the algorithm: "
                f"hs.{type(algorithm).__name__}({near[0]}=...)"
            )
    return config.replace(kind(steps), **options)
