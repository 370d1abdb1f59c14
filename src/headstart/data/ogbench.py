"""OGBench data sets (Park et al. 2025, arXiv:2410.20092): by name, or an `.npz` file of theirs."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np

from headstart.data.columns import scalars
from headstart.data.dataset import Dataset, Provenance
from headstart.data.files import existing, read_npz, require, same_length
from headstart.errors import DataError, UsageError, install, unknown


def path(locator: str) -> Path:
    """The file that a locator means: the file itself, or where OGBench keeps the data set of that name."""
    if locator.endswith(".npz"):
        return existing(locator, "an .npz file in OGBench's layout")
    from ogbench.utils import DEFAULT_DATASET_DIR

    return Path(DEFAULT_DATASET_DIR).expanduser() / f"{_names(locator)[1]}.npz"


def read(locator: str) -> Dataset:
    """An `.npz` file with `observations, actions, terminals`, or the data set of that name (`NAME-val`: its validation
    part), which OGBench downloads when first used. `singletask` names get OGBench's own rewards.

    `terminals` marks where a trajectory ends, *not* that the task did: episodes count as cut off, except where `masks`
    is 0. As in OGBench's own training, a step with mask 0 ends the task wherever it stands, so it ends an episode here.
    Without `next_observations` (compact layout, the one of the files) a trajectory's last row holds only its final
    observation; with them (full layout) it is a step like any other.

    Raises `DataError` for files that are absent, damaged, lack a column or disagree in length, and where the download
    fails; `UsageError` for unknown names and where OGBench is not installed.
    """
    if locator.endswith(".npz"):
        file = path(locator)
        return of_columns(file, read_npz(file), Provenance(f"ogbench:{locator}"))
    environment, name = _names(locator)
    file = path(locator)
    if not file.exists():
        _download(name.removesuffix("-val"), file)
    columns = read_npz(file)
    if "singletask" in environment:
        _add_rewards(environment, file, columns)
    return of_columns(file, columns, Provenance(f"ogbench:{locator}", locator.split("-")[-1], environment))


def of_columns(file: Path, columns: dict[str, np.ndarray], provenance: Provenance) -> Dataset:
    """The data of OGBench's columns in either layout. Raises `DataError` where they do not fit together."""
    require(file, columns, "observations", "terminals")
    known = ("observations", "actions", "terminals", "rewards", "masks", "valids", "next_observations")
    columns = {name: columns[name] for name in known if name in columns}
    same_length(file, columns)
    count = len(columns["observations"])
    for name, column in columns.items():
        if name in ("terminals", "rewards", "masks", "valids"):
            columns[name] = scalars(name, column, str(file))
    last = columns["terminals"].astype(bool)
    ended = columns["masks"] == 0 if "masks" in columns else np.zeros(count, bool)
    if "masks" in columns:
        columns["successes"] = ended
    optional = {name: columns[name] for name in ("actions", "rewards", "successes") if name in columns}
    if "next_observations" in columns:
        return Dataset.from_arrays(
            columns["observations"],
            terminations=ended,
            timeouts=last,
            next_observations=columns["next_observations"],
            provenance=provenance,
            **optional,
        )
    if "valids" in columns:  # the compact form in memory, where the last two rows of a trajectory are terminal
        last = columns["valids"] == 0
    if not count or not last[-1]:
        raise DataError(f"{file}: 'terminals' is not set in the last row; expected it at the last row of a trajectory")
    episodes = []
    start = 0
    for row in np.flatnonzero(last | ended):
        end = row if last[row] else row + 1
        if end > start:
            episode = {name: column[start:end] for name, column in optional.items()}
            episodes.append(
                {"observations": columns["observations"][start : end + 1], "terminated": ended[end - 1], **episode}
            )
        start = row + 1
    return Dataset.from_episodes(episodes, provenance=provenance)


def _names(locator: str) -> tuple[str, str]:
    """(environment, data set) of a name, by the rules of `ogbench.make_env_and_datasets`."""
    try:
        import gymnasium
        import ogbench  # noqa: F401  # registers its environments
    except ImportError as error:
        raise UsageError(
            f"ogbench:{locator} needs OGBench; try {install('ogbench')}; a file of its layout must end in .npz"
        ) from error
    parts = locator.removesuffix("-val").split("-")
    val = "-val" if locator.endswith("-val") else ""
    if "singletask" in parts[1:]:
        task = parts.index("singletask")
        environment, name = [*parts[: task - 1], *parts[task:]], [*parts[:task], parts[-1]]
    else:
        environment, name = [*parts[:-2], parts[-1]], parts
    environment = "-".join(environment)
    known = [
        spec.id
        for spec in gymnasium.registry.values()
        if str(spec.entry_point).startswith("ogbench.") and ("singletask" in spec.id) == ("singletask" in parts)
    ]
    if environment not in known:
        raise unknown(f"OGBench environment (of the data set {locator!r})", environment, known)
    return environment, "-".join(name) + val


def _download(name: str, file: Path) -> None:
    from ogbench.utils import DATASET_URL, download_datasets

    try:
        # Its progress lines do not belong to this program's output.
        with contextlib.redirect_stdout(sys.stderr):
            download_datasets([name])
    except OSError as error:  # urllib's errors among them
        raise DataError(
            f"{file} does not exist and {DATASET_URL}/{name}.npz cannot be downloaded ({error}); "
            "check the network, or copy the file there"
        ) from error


def _add_rewards(environment: str, file: Path, columns: dict[str, np.ndarray]) -> None:
    """Add OGBench's `rewards` and `masks` of a single-task environment."""
    import gymnasium
    from ogbench.relabel_utils import relabel_dataset

    if "qpos" not in columns:
        raise DataError(f"{file}: no 'qpos', from which OGBench computes the rewards of {environment}")
    env = gymnasium.make(environment)
    try:
        relabel_dataset(environment, env, columns)
    finally:
        env.close()
