"""Artifacts on disk: a folder that anyone can read without this library.

    artifact.json           format version, algorithm with its full configuration, spec, seeds, components with shapes
                            and types, settings, lineage, versions, digests
    weights.safetensors     nets/..., targets/..., step; every array has a leading axis of members
    optimizer.safetensors   optimiser state by component
    normalizer.safetensors  statistics that are kept; what is absent is absent
    data.json               provenance of the data
    eval.json               scores, if there are any
    example.npz             raw observations and the actions (members, n, ...) that they gave, or without a policy the
                            values (members, n) of goals; replayed by `load`
    skills/                 the artifact of its low level, where its actions are skills

The folder is written beside its place and moved there when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart import trees
from headstart.algos import registry
from headstart.artifact import selftest
from headstart.artifact.model import Artifact, arrays_digest, config_digest, model_digest
from headstart.artifact.skills import Skills
from headstart.config import from_json, to_json
from headstart.data.normalize import Normalizer
from headstart.data.tasks import TaskTable
from headstart.errors import ArtifactError, UsageError
from headstart.nets import FEATURES, Features
from headstart.spec import Spec
from headstart.state import State

FORMAT = 1
KIND = "headstart artifact"
MANIFEST = "artifact.json"
SKILLS = "skills"
PARTS = ("weights", "optimizer", "normalizer")


# -- writing ----------------------------------------------------------------------------------------------------


def save(artifact: Artifact, path: str | Path, overwrite: bool) -> Path:
    """See `Artifact.save`."""
    target = Path(path).expanduser()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        if not overwrite:
            raise UsageError(f"{target} already exists; choose another name or ask for it to be overwritten")
        if not (target / MANIFEST).is_file():
            raise UsageError(f"{target} is not an artifact (no {MANIFEST}) and is left alone")
    files = _contents(artifact)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        new = temporary / "new"
        new.mkdir()
        for name, content in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            _write(new / name, content)
        for folder in {(new / name).parent for name in files}:
            _sync(folder)
        _move(new, target, temporary / "old")
    except OSError as error:
        kept = "; the artifact that was there is untouched" if target.exists() else ""
        raise ArtifactError(f"{target} cannot be written: {error.strerror or error}{kept}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _contents(artifact: Artifact) -> dict[str, bytes]:
    """{file name: bytes} of everything, so that whatever cannot be expressed fails before a file is touched."""
    from safetensors import numpy as safetensors

    arrays = artifact.arrays()
    for part in ("weights", "normalizer"):
        for key, array in arrays[part].items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ArtifactError(f"{part}: {key} holds NaN or infinity; such a model is not saved")
    versions = {"headstart": _version("headstart"), "jax": jax.__version__, "python": platform.python_version()}
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "title": artifact.title,
        "steps": artifact.steps,
        **artifact.config,
        "settings": artifact.settings,
        "lineage": artifact.lineage,
        "created": artifact.created,
        "versions": versions,
        "digest": artifact.digest,
        "digests": artifact.digests,
        "components": _components(arrays["weights"]),
    }
    examples = selftest.examples(artifact)
    files = {
        MANIFEST: _json("settings or lineage", manifest),
        **{f"{part}.safetensors": safetensors.save(_contiguous(arrays[part])) for part in PARTS},
        "data.json": _json("data", artifact.data),
        "example.npz": _npz(examples | {selftest.answer(artifact): selftest.replay(artifact, examples)}),
    }
    if artifact.evaluation is not None:
        files["eval.json"] = _json("evaluation", artifact.evaluation)
    if artifact.skills is not None:
        files |= {f"{SKILLS}/{name}": content for name, content in _contents(artifact.skills.artifact).items()}
    return files


def _components(weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """{component: {key path within it: type and shape}}, such as nets/actor: {trunk/output/bias: float32[1,4]}."""
    table: dict[str, Any] = {}
    for path, array in weights.items():
        entry = f"{array.dtype}[{','.join(map(str, array.shape))}]"
        kind, *rest = path.split("/", 2)
        if rest:
            table.setdefault(f"{kind}/{rest[0]}", {})["/".join(rest[1:])] = entry
        else:
            table[kind] = entry
    return table


def _contiguous(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {path: np.asarray(array, order="C") for path, array in arrays.items()}


def _json(what: str, content: Any) -> bytes:
    try:
        return (json.dumps(to_json(content), indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: only plain JSON data can be kept in an artifact ({error})") from error


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source"


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; not every system can open a folder."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(new: Path, target: Path, old: Path) -> None:
    """Put the whole new folder in its place; what was there comes back if that fails."""
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    # The artifact is whole and in its place; a file system that cannot promise more is no failure.
    with contextlib.suppress(OSError):
        _sync(target.parent)


# -- reading ----------------------------------------------------------------------------------------------------


def load(path: str | Path) -> Artifact:
    """See `Artifact.load`."""
    folder = _locate(Path(path).expanduser())
    manifest = _manifest(folder / MANIFEST)
    digests = manifest["digests"]
    arrays = {part: _read_arrays(folder / f"{part}.safetensors") for part in PARTS}
    try:
        algorithm, spec = registry.from_json(manifest["algorithm"]), Spec.from_json(manifest["spec"])
        keys = jax.random.split(jax.random.key(0), len(manifest["seeds"]))
        expected = jax.eval_shape(jax.vmap(lambda key: _fresh(manifest, algorithm, spec, key)), keys)
    except UsageError as error:
        raise ArtifactError(f"{folder / MANIFEST}: {error}") from error
    templates = {
        "weights": {"nets": expected.nets, "targets": expected.targets, "step": expected.step},
        "optimizer": expected.opt_state,
        "normalizer": _expected_normalizer(spec, arrays["normalizer"]),
    }
    filled = {part: _fill(folder / f"{part}.safetensors", templates[part], arrays[part]) for part in PARTS}
    for part in PARTS:
        _compare_digest(folder / f"{part}.safetensors", arrays_digest(arrays[part]), digests[part])
    _compare_digest(folder / MANIFEST, model_digest(digests), manifest["digest"])
    evaluation = folder / "eval.json"
    artifact = Artifact(
        algorithm=algorithm,
        spec=spec,
        state=State(opt_state=filled["optimizer"], **filled["weights"]),
        normalizer=filled["normalizer"],
        seeds=tuple(manifest["seeds"]),
        settings=manifest["settings"],
        data=_read_json(folder / "data.json"),
        lineage=tuple(manifest["lineage"]),
        evaluation=_read_json(evaluation) if evaluation.exists() else None,
        created=manifest["created"],
        skills=_skills(folder, manifest),
        tasks=_tasks(folder / MANIFEST, manifest),
    )
    selftest.check(artifact, folder / "example.npz")
    return artifact


def _fresh(manifest: dict[str, Any], algorithm: Any, spec: Spec, key: jax.Array) -> State:
    """A state of the form that the artifact holds."""
    found = manifest.get("features")
    if found is None:
        return algorithm.init(key, spec)
    of_features = registry.from_json(found["algorithm"]), Spec.from_json(found["spec"]), found["beside"]
    features = Features.fresh(*of_features, key)
    state = algorithm.init(key, features.seen(spec))
    return dataclasses.replace(state, nets=state.nets | {FEATURES: features})


def _tasks(file: Path, manifest: dict[str, Any]) -> TaskTable | None:
    try:
        return from_json(TaskTable, manifest["tasks"], "tasks") if "tasks" in manifest else None
    except UsageError as error:
        raise ArtifactError(f"{file}: {error}") from error


def _skills(folder: Path, manifest: dict[str, Any]) -> Skills | None:
    """The low level of an artifact whose actions are skills."""
    if SKILLS not in manifest:
        return None
    below = load(folder / SKILLS)
    _compare_digest(folder / SKILLS / MANIFEST, below.digest, manifest[SKILLS]["digest"])
    return Skills(below, manifest[SKILLS]["steps"])


def _locate(path: Path) -> Path:
    """The artifact's folder: the path itself, or `artifact/` in the folder of a run."""
    for folder in (path, path / "artifact"):
        if (folder / MANIFEST).is_file():
            return folder
    expected = (
        f"expected an artifact (a folder with {MANIFEST}) or the folder of a run that has written one (artifact/)"
    )
    if path.is_file():
        raise ArtifactError(f"{path} is a file; {expected}")
    if not path.exists():
        raise ArtifactError(f"{path} does not exist; {expected}")
    if not any(path.iterdir()):
        raise ArtifactError(f"{path} is empty; {expected}")
    if (path / "config.json").is_file():
        raise ArtifactError(
            f"{path} is a run that is not complete; go on with it by the command that started it and --resume"
        )
    # Such as the folder of a recipe.
    runs = sorted(str(file.parents[1]) for file in path.glob(f"*/**/artifact/{MANIFEST}"))
    if runs:
        more = f" and {len(runs) - 8} more" if len(runs) > 8 else ""
        raise ArtifactError(f"{path} holds several runs; name one of them: {', '.join(runs[:8])}{more}")
    raise ArtifactError(f"{path} holds neither {MANIFEST} nor artifact/{MANIFEST}; {expected}")


def _manifest(file: Path) -> dict[str, Any]:
    manifest = _read_json(file)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND or type(manifest.get("format")) is not int:
        raise ArtifactError(f"{file} does not describe an artifact: expected an object with kind {KIND!r} and a format")
    if manifest["format"] > FORMAT:
        written = manifest.get("versions", {}).get("headstart", "a newer version")
        raise ArtifactError(
            f"{file} has format {manifest['format']} (written by headstart {written}), this version reads formats "
            f"up to {FORMAT}; upgrade headstart"
        )
    kinds = {
        "algorithm": dict, "spec": dict, "seeds": list, "settings": dict, "lineage": list, "created": str,
        "digest": str, "digests": dict,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            found = type(manifest[key]).__name__ if key in manifest else "nothing"
            raise ArtifactError(f"{file}: expected {key} as {kind.__name__}, found {found}")
    lacking = [part for part in (*PARTS, "config") if part not in manifest["digests"]]
    lacking += [key for key in ("name", "config") if key not in manifest["algorithm"]]
    if lacking:
        raise ArtifactError(f"{file}: {lacking[0]} is missing from digests or algorithm")
    config = {
        key: manifest[key] for key in ("algorithm", "spec", "seeds", "features", "tasks", SKILLS) if key in manifest
    }
    _compare_digest(file, config_digest(config), manifest["digests"]["config"])
    return manifest


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{file} is missing; the artifact is not whole") from error
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ArtifactError(f"{file} is not JSON (damaged or cut short): {error}") from error


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        return safetensors.load(file.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{file} is missing; the artifact is not whole") from error
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged or cut short: {error}") from error


def _fill(file: Path, template: Any, arrays: dict[str, np.ndarray]) -> Any:
    try:
        return trees.fill(template, arrays)
    except ValueError as error:
        raise ArtifactError(f"{file}: {error}") from error


def _compare_digest(file: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ArtifactError(
            f"{file} was changed or damaged after it was written: SHA-256 of its contents is {found[:12]}..., "
            f"expected {expected[:12]}..."
        )


def _expected_normalizer(spec: Spec, arrays: dict[str, np.ndarray]) -> Normalizer:
    """Shapes and types of the statistics; those of observations may be absent."""

    def of_observations(name: str) -> Any:
        if not any(path.partition("/")[0] == name for path in arrays):
            return None
        # A column of one number a step has gained an axis in the data.
        shapes = {key: jax.ShapeDtypeStruct(part.shape or (1,), np.float32) for key, part in spec.observation}
        return shapes[""] if list(shapes) == [""] else shapes

    action = None
    if spec.action is not None and not spec.action.discrete:
        action = jax.ShapeDtypeStruct(spec.action.shape, np.float32)
    return Normalizer(of_observations("observation_mean"), of_observations("observation_std"), action, action)
