"""Models of skills told what to do on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import UsageError

if TYPE_CHECKING:
    from headstart.artifact import Artifact, Prompted


def load(artifact: str | Path, prompt: str | None, rewards: Path | None) -> Artifact | Prompted:
    """The artifact of a folder, told what to do where --prompt or --prompt-rewards, a file, say so.

    Raises `UsageError` for both at once, and as `Artifact.prompt`; `DataError` for a file that lacks an array.
    """
    if prompt is not None and rewards is not None:
        raise UsageError("give either --prompt or --prompt-rewards, not both")
    from headstart.artifact import Artifact

    loaded = Artifact.load(artifact)
    if rewards is not None:
        return loaded.prompt(reward_examples=_examples(rewards, [name for name, _ in loaded.spec.observation]))
    return loaded if prompt is None else loaded.prompt()


def _examples(file: Path, names: list[str]):
    """Observations, an array or a dict of them by these names, and rewards: the arrays of a .npz file."""
    from headstart.data.files import existing, read_npz, require

    columns = read_npz(existing(file, "reward examples"))
    keys = {f"observations/{name}" if name else "observations": name for name in names}
    require(file, columns, *keys, "rewards")
    observations = {name: columns[key] for key, name in keys.items()}
    return observations.get("", observations), columns["rewards"]
