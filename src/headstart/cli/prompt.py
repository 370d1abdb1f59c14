"""Models of skills on the command line: told what to do, or as what others act by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import UsageError

if TYPE_CHECKING:
    from headstart.artifact import Artifact, Prompted, Skills


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


def skills(folder: Path | None, steps: int | None, seed: int | None) -> Skills | None:
    """The skills of the model in a folder (--skills), where there is one. Raises as `Skills.of`."""
    if folder is None:
        if steps is not None or seed is not None:
            raise UsageError("--skill-steps and --skill-seed are of --skills; say of which model")
        return None
    from headstart.artifact import Skills

    return Skills.of(folder, steps, seed)


def _examples(file: Path, names: list[str]):
    """Observations, an array or a dict of them by these names, and rewards: the arrays of a .npz file."""
    from headstart.data.files import existing, read_npz, require

    columns = read_npz(existing(file, "reward examples"))
    keys = {f"observations/{name}" if name else "observations": name for name in names}
    require(file, columns, *keys, "rewards")
    observations = {name: columns[key] for key, name in keys.items()}
    return observations.get("", observations), columns["rewards"]
