"""All diagnostics of an artifact, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headstart.artifact import Artifact
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.diagnostics import adversarial, calibration, conservatism, finetuning, landscape, shift
from headstart.diagnostics.findings import Diagnosis, Finding, Unsupported
from headstart.diagnostics.subject import Subject

DIAGNOSTICS: tuple[tuple[str, str, Callable[[Subject], Finding]], ...] = (
    (calibration.NAME, calibration.TITLE, calibration.calibration),
    (conservatism.NAME, conservatism.TITLE, conservatism.conservatism),
    (shift.NAME, shift.TITLE, shift.shift),
    (adversarial.NAME, adversarial.TITLE, adversarial.adversarial),
    (landscape.NAME, landscape.TITLE, landscape.landscape),
    (finetuning.NAME, finetuning.TITLE, finetuning.finetuning),
)
"""Name, title and function of each, in the order of reports."""


def diagnose(
    artifact: Artifact | str | Path,
    data: Dataset | str,
    env: str | None = None,
    *,
    online: Dataset | str | None = None,
    position: tuple[int, int] | None = None,
    states: int = 2000,
    episodes: int = 20,
    sample: bool = False,
    seed: int = 0,
) -> Diagnosis:
    """Look at what an artifact has learned beside data, and beside what really happens in an environment.

    artifact: an artifact, its folder or its run's (the latter also tells how finetuning went). data: a data set or a
    source; episodes that it was not trained on tell more. env: an environment, or None: then only what data shows.
    online: data collected while it was finetuned, in order. position: which two numbers of an observation are a
    position, where it has more. states: of the data, that are looked at, at most. episodes: that each member plays.
    sample: the policy draws its actions instead of taking the likeliest. seed: of all that is drawn.

    What the algorithm, the data or the environment does not allow is a finding that says why it was skipped.

    Raises `UsageError` where these do not fit together, `ArtifactError` and `DataError` where they cannot be read.

    >>> import headstart as hs
    >>> found = hs.diagnose("runs/pretrain", "minari:D4RL/door/human-v2")  # doctest: +SKIP
    >>> found["calibration"].numbers["share below the reference"]          # doctest: +SKIP
    """
    run = None
    if not isinstance(artifact, Artifact):
        folder = Path(artifact).expanduser()
        run = folder if (folder / "config.json").exists() else None
        artifact = Artifact.load(folder)
    data, online = (sources.load(part) if isinstance(part, str) else part for part in (data, online))
    subject = Subject(
        artifact, data, env, online, run, position=position, states=states, episodes=episodes, sample=sample, seed=seed
    )  # fmt: skip
    return Diagnosis(
        artifact.digest, artifact.title, _line(data), env, tuple(_attempt(subject, *one) for one in DIAGNOSTICS)
    )


def _attempt(subject: Subject, name: str, title: str, diagnostic: Callable[[Subject], Finding]) -> Finding:
    try:
        return diagnostic(subject)
    except Unsupported as why:
        return Finding.skip(name, title, str(why))


def _line(data: Dataset) -> str:
    """Provenance in one line."""
    where = " ".join(filter(None, (data.provenance.source, data.provenance.version)))
    size = f"{data.episodes:,} episodes, {data.steps:,} steps"
    return "; ".join([where, *data.provenance.transforms, size])
