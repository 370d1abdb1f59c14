"""The D4RL layout: one HDF5 file of flat arrays, one row per step (Fu et al. 2020, arXiv:2004.07219)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headstart.data.columns import SUCCESS_KEYS, scalars
from headstart.data.dataset import Dataset, Provenance
from headstart.data.files import existing, numeric, require, same_length
from headstart.errors import DataError

SUCCESSES = tuple(f"infos/{key}" for key in SUCCESS_KEYS)
COLUMNS = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations", *SUCCESSES)


def path(locator: str) -> Path:
    """The file that a locator means."""
    return existing(locator, "an HDF5 file in the D4RL layout")


def read(locator: str) -> Dataset:
    """The file's `observations, actions, rewards, terminals, timeouts`, and `next_observations` and a success flag
    among `infos/` where they are there. Actions and rewards may be absent; other arrays are not read.

    An episode ends at a row with `terminals` (the task ended) or `timeouts` (it was cut off). Without `timeouts` only
    terminals tell where episodes end, which the provenance then says.

    Raises `DataError` for files that are damaged, lack observations or any mark of an episode's end, or whose columns
    disagree in length.
    """
    file = path(locator)
    columns = _columns(file)
    require(file, columns, "observations", "terminals")
    same_length(file, columns)
    terminals, timeouts = (
        scalars(name, columns[name], str(file)).astype(bool) if name in columns else None
        for name in ("terminals", "timeouts")
    )
    transforms = ()
    if timeouts is None:
        if not terminals.any():
            raise DataError(
                f"{file}: no 'timeouts', and 'terminals' is never set, so its episodes cannot be told apart; "
                "add 'timeouts' (1 at the last step of every episode that was cut off)"
            )
        transforms = ("read without timeouts: episodes end at terminals only",)
    return Dataset.from_arrays(
        columns["observations"],
        columns.get("actions"),
        columns.get("rewards"),
        terminals,
        timeouts,
        columns.get("next_observations"),
        next((columns[name] for name in SUCCESSES if name in columns), None),
        provenance=Provenance(f"d4rl:{locator}", transforms=transforms),
    )


def _columns(file: Path) -> dict[str, np.ndarray]:
    import h5py

    columns = {}
    name = ""
    try:
        with h5py.File(file, "r") as content:
            for name in COLUMNS:
                if name in content:
                    column = content[name]
                    if not isinstance(column, h5py.Dataset):
                        raise DataError(f"{file}: {name} is a group; expected one array (the D4RL layout is flat)")
                    columns[name] = numeric(file, name, np.asarray(column[()]))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        where = f"{name!r} of {file}" if name else str(file)
        raise DataError(f"{where} is not readable HDF5 (damaged, cut short or of another format)") from error
    if not columns:
        raise DataError(f"{file}: no arrays of the D4RL layout; expected at least observations and terminals")
    return columns
