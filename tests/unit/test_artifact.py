"""Artifacts: whole or refused on disk, and acting as the model did."""

import dataclasses
import errno
import hashlib
import json
import os
import resource
from pathlib import Path

import jax
import numpy as np
import pytest
from models import ALGORITHMS, DISCRETE, HIGH, LOW, NAMED, SPEC, model
from safetensors import numpy as safetensors

from headstart.artifact import Artifact
from headstart.data.normalize import Normalizer
from headstart.errors import ArtifactError, UsageError
from headstart.spec import ArraySpec

BC = ALGORITHMS["bc"]
CENTER, SCALE = np.array([0.0, 0.5], np.float32), np.array([2.0, 0.5], np.float32)
STANDARD = Normalizer(np.array([1.0, 0.0, -1.0], np.float32), np.array([2.0, 1.0, 0.5], np.float32), CENTER, SCALE)


def observations(*axes, size=3):
    return np.random.default_rng(1).normal(size=(*axes, size)).astype(np.float32)


def edit_json(file: Path, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_arrays(file: Path, change):
    arrays = safetensors.load_file(file)
    change(arrays)
    safetensors.save_file(arrays, file)


@pytest.fixture
def saved(tmp_path):
    return model(BC, normalizer=STANDARD, evaluation={"return": -3.0}).save(tmp_path / "model")


# -- round trip -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_read_is_what_was_written(name, tmp_path):
    spec = DISCRETE if name == "discrete_cql" else SPEC
    normalizer = Normalizer(STANDARD.observation_mean, STANDARD.observation_std) if spec is DISCRETE else STANDARD
    artifact = model(
        ALGORITHMS[name], spec, seeds=(3, 11), normalizer=normalizer, settings={"env": "door", "reward_scale": 10.0},
        data=[{"source": "a", "steps": 3}, {"source": "b", "episodes": 1}], lineage=({"digest": "d0"},),
        evaluation={"return": [1.0, 2.0]},
    )  # fmt: skip
    assert artifact.save(tmp_path / "model") == tmp_path / "model"
    read = Artifact.load(tmp_path / "model")
    for field in ("algorithm", "spec", "seeds", "settings", "data", "lineage", "evaluation", "created", "digest"):
        assert getattr(read, field) == getattr(artifact, field), field
    assert read.data_rows == 4
    for name in ("state", "normalizer"):
        old, new = getattr(artifact, name), getattr(read, name)
        assert jax.tree.structure(old) == jax.tree.structure(new)
        jax.tree.map(np.testing.assert_array_equal, old, new)
    for member in (0, 1):
        np.testing.assert_array_equal(
            read.policy(observations(5), member=member), artifact.policy(observations(5), member=member)
        )
    keys = jax.random.split(jax.random.key(2), 2)
    np.testing.assert_array_equal(read.act(observations(2, 5), keys), artifact.act(observations(2, 5), keys))


def test_the_folder_can_be_read_without_headstart(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "artifact.json", "data.json", "eval.json", "example.npz", "normalizer.safetensors", "optimizer.safetensors",
        "weights.safetensors",
    ]  # fmt: skip
    weights = safetensors.load_file(saved / "weights.safetensors")
    assert set(weights) == {
        "step", "nets/actor/log_std", *(f"nets/actor/trunk/{layer}" for layer in (
            "hidden/0/weight", "hidden/0/bias", "norms/0/scale", "norms/0/offset", "output/weight", "output/bias"))
    }  # fmt: skip
    assert weights["nets/actor/trunk/hidden/0/weight"].shape == (1, 3, 16)
    assert "actor/0/mu/trunk/output/bias" in safetensors.load_file(saved / "optimizer.safetensors")
    manifest = json.loads((saved / "artifact.json").read_text())
    assert manifest["format"] == 1
    assert manifest["title"] == "bc"
    assert manifest["algorithm"]["config"]["actor_widths"] == [16]
    assert manifest["components"]["nets/actor"]["trunk/output/weight"] == "float32[1,16,2]"
    assert manifest["components"]["step"] == "int32[1]"
    assert manifest["versions"]["jax"] == jax.__version__
    assert json.loads((saved / "eval.json").read_text()) == {"return": -3.0}


def test_absent_statistics_and_scores_stay_absent(tmp_path):
    folder = model(BC).save(tmp_path / "model")
    assert set(safetensors.load_file(folder / "normalizer.safetensors")) == {"action_center", "action_scale"}
    assert not (folder / "eval.json").exists()
    read = Artifact.load(folder)
    assert read.normalizer.observation_mean is None
    assert read.evaluation is None


# -- acting ---------------------------------------------------------------------------------------------------


def test_actions_are_those_of_the_network_in_the_environments_units():
    """Against the arithmetic of a tanh-Gaussian actor in NumPy, with float64."""
    artifact = model(ALGORITHMS["calql"], seeds=(0, 1), normalizer=STANDARD)
    raw = observations(6)
    for member in (0, 1):
        trunk = jax.tree.map(lambda leaf, m=member: leaf[m].astype(float), artifact.state.nets["actor"].trunk)
        x = (raw - [1.0, 0.0, -1.0]) / [2.0, 1.0, 0.5]
        for layer in trunk.hidden:
            x = np.maximum(x @ layer.weight + layer.bias, 0.0)
        mean = (x @ trunk.output.weight + trunk.output.bias)[:, :2]
        expected = np.tanh(mean) * [2.0, 0.5] + [0.0, 0.5]
        found = artifact.policy(raw, member=member)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(artifact.policy(raw[2], member=member), expected[2], atol=1e-5)
        np.testing.assert_allclose(artifact.policy(raw.tolist(), member=member), expected, atol=1e-5)
        np.testing.assert_allclose(artifact.act(np.stack([raw, raw]))[member], expected, atol=1e-5)


def test_a_key_samples():
    artifact = model(ALGORITHMS["sac"], seeds=(0, 1))
    raw, key = observations(4), jax.random.key(5)
    sampled = artifact.policy(raw, key)
    assert not np.allclose(sampled, artifact.policy(raw))
    np.testing.assert_array_equal(sampled, artifact.policy(raw, key))
    assert not np.allclose(sampled, artifact.policy(raw, jax.random.key(6)))
    assert (sampled >= LOW).all()
    assert (sampled <= HIGH).all()
    both = artifact.act(np.stack([raw, raw]), jax.numpy.stack([key, jax.random.key(6)]))
    np.testing.assert_allclose(both[0], sampled, atol=1e-5)
    np.testing.assert_allclose(both[1], artifact.policy(raw, jax.random.key(6), member=1), atol=1e-5)
    with pytest.raises(UsageError, match=r"keys have shape \(3,\), expected \(2,\)"):
        artifact.act(np.stack([raw, raw]), jax.random.split(key, 3))


def test_chunks_are_planned_at_once_and_a_call_gives_the_first_action(tmp_path):
    artifact = model(ALGORITHMS["qc"], seeds=(0, 1), normalizer=STANDARD)
    raw, key = observations(4), jax.random.key(5)
    for how in (None, key):
        chunks = artifact.chunk(raw, how, member=1)
        assert chunks.shape == (4, 3, 2)
        assert np.ptp(chunks, axis=1).min() > 0
        assert ((chunks >= LOW) & (chunks <= HIGH)).all()
        np.testing.assert_array_equal(artifact.policy(raw, how, member=1), chunks[:, 0])
    np.testing.assert_allclose(artifact.chunk(raw[2], member=1), artifact.chunk(raw, member=1)[2], atol=1e-5)
    np.testing.assert_allclose(artifact.policy(raw[2], member=1), artifact.chunk(raw, member=1)[2, 0], atol=1e-5)
    together = artifact.act(np.stack([raw, raw]))
    assert together.shape == (2, 4, 3, 2)
    np.testing.assert_allclose(together[1], artifact.chunk(raw, member=1), atol=1e-5)
    read = Artifact.load(artifact.save(tmp_path / "model"))
    np.testing.assert_array_equal(read.act(np.stack([raw, raw])), together)
    # Where actions are decided on one by one, a chunk holds one.
    single = model(ALGORITHMS["fql"])
    np.testing.assert_array_equal(single.chunk(raw)[:, 0], single.policy(raw))
    assert model(ALGORITHMS["discrete_cql"], DISCRETE).chunk(raw[0]).shape == (1,)


def test_discrete_actions_are_integers():
    artifact = model(ALGORITHMS["discrete_cql"], DISCRETE)
    actions = artifact.policy(observations(50))
    assert actions.dtype == np.int32
    assert actions.shape == (50,)
    assert set(actions) <= {0, 1, 2, 3}
    assert artifact.policy(observations()).shape == ()


def test_named_observations_and_pixels(tmp_path):
    artifact = model(BC, NAMED, seeds=(1, 2))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4, 1)).astype(np.uint8)
    many = {"pixels": pixels, "achieved": observations(2, 5, size=2)}
    together = artifact.act(many)
    assert together.shape == (2, 5, 2)
    one = {name: part[1, 3] for name, part in many.items()}
    np.testing.assert_allclose(artifact.policy(one, member=1), together[1, 3], atol=1e-5)
    read = Artifact.load(artifact.save(tmp_path / "model"))
    np.testing.assert_array_equal(read.act(many), together)
    with pytest.raises(UsageError, match=r"observation 'pixels' holds float64, expected uint8"):
        artifact.policy(one | {"pixels": pixels[0, 0] / 255.0})
    with pytest.raises(UsageError, match=r"expected observations achieved, pixels; found achieved"):
        artifact.policy({"achieved": one["achieved"]})
    with pytest.raises(UsageError, match=r"expected observations as a dict of achieved, pixels, found one array"):
        artifact.policy(one["achieved"])
    with pytest.raises(UsageError, match=r"'achieved' has shape \(4, 2\), expected \(2, n, 2\)"):
        artifact.act({"pixels": pixels, "achieved": many["achieved"][0, :4]})


@pytest.mark.parametrize(
    ("part", "observation"),
    [(ArraySpec((), "int32", categories=5), 3), (ArraySpec((2,), low=(-3.0e38, 0.0), high=(3.0e38, 1.0)), [0.5, 0.25])],
)
def test_discrete_and_bounded_observations(part, observation, tmp_path):
    artifact = model(BC, dataclasses.replace(SPEC, observation=(("", part),)))
    read = Artifact.load(artifact.save(tmp_path / "model"))
    examples = np.load(tmp_path / "model" / "example.npz")
    assert examples["observation"].shape == (16, *part.shape)
    assert np.abs(examples["observation"]).max() <= 10
    np.testing.assert_array_equal(read.policy(observation), artifact.policy([observation])[0])


def test_statistics_of_named_observations_come_back(tmp_path):
    mean = {"achieved": np.array([3.0, 4.0], np.float32), "pixels": np.zeros((4, 4, 1), np.float32)}
    std = jax.tree.map(lambda leaf: leaf + 2, mean)
    artifact = model(
        BC, NAMED, normalizer=dataclasses.replace(Normalizer.of(NAMED), observation_mean=mean, observation_std=std)
    )
    folder = artifact.save(tmp_path / "model")
    assert "observation_mean/achieved" in safetensors.load_file(folder / "normalizer.safetensors")
    jax.tree.map(np.testing.assert_array_equal, Artifact.load(folder).normalizer, artifact.normalizer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(4), r"observation has shape \(4,\), expected \(3,\)"),
        (np.zeros((5, 4)), r"observation has shape \(5, 4\), expected \(n, 3\)"),
        (np.zeros((2, 5, 3)), r"observation has shape \(2, 5, 3\), expected \(n, 3\)"),
        (np.zeros(3, "U1"), r"observation holds <U1, expected numbers"),
        ({"x": np.zeros(3)}, r"expected observations as one array, found a dict of x"),
    ],
)
def test_observations_that_do_not_fit_are_named(given, message):
    with pytest.raises(UsageError, match=message):
        model(BC).policy(given)


def test_act_wants_the_axis_of_members():
    with pytest.raises(UsageError, match=r"observation has shape \(3, 5, 3\), expected \(2, n, 3\)"):
        model(BC, seeds=(0, 1)).act(np.zeros((3, 5, 3)))


def test_context_is_an_input(tmp_path):
    artifact = model(BC, dataclasses.replace(SPEC, context=ArraySpec((2,))))
    near, far = (artifact.policy(observations(4), context=np.full((4, 2), goal)) for goal in (0.0, 1.0))
    assert not np.allclose(near, far)
    np.testing.assert_allclose(artifact.policy(observations(4)[0], context=np.ones(2)), far[0], atol=1e-5)
    Artifact.load(artifact.save(tmp_path / "model"))
    with pytest.raises(UsageError, match=r"needs a context of float32\[2\]"):
        artifact.policy(observations(4))
    with pytest.raises(UsageError, match=r"context has shape \(2,\), expected \(n, 2\)"):
        artifact.policy(observations(4), context=np.ones(2))
    with pytest.raises(UsageError, match=r"takes no context"):
        model(BC).policy(observations(4), context=np.ones(2))


# -- members, digest, ancestry --------------------------------------------------------------------------------


def test_a_member_acts_alone_as_among_the_others():
    artifact = model(ALGORITHMS["iql"], seeds=(5, 6, 7), evaluation={"return": [1, 2, 3]})
    alone = artifact.member(1)
    assert alone.seeds == (6,)
    assert alone.evaluation is None
    assert alone.state.nets["critic"].members.trunk.output.bias.shape == (1, 2, 1)
    np.testing.assert_array_equal(alone.policy(observations(4)), artifact.policy(observations(4), member=1))
    with pytest.raises(UsageError, match="member 3 does not exist; this artifact has members 0 to 2"):
        artifact.member(3)
    with pytest.raises(UsageError, match="member -1 does not exist"):
        artifact.policy(observations(4), member=-1)


def test_the_digest_is_that_of_the_contents():
    artifact = model(BC)
    same = model(BC, settings={"env": "x"}, evaluation={"a": 1}, created="2020-01-01T00:00:00+00:00")
    assert same.digest == artifact.digest
    weights = {"nets": artifact.state.nets, "targets": {}, "step": artifact.state.step}
    total = hashlib.sha256()
    for path in sorted(keys := dict(_by_hand(weights))):
        total.update(f"{path} {keys[path].dtype} {keys[path].shape}\n".encode() + keys[path].tobytes())
    assert artifact.digests["weights"] == total.hexdigest()
    others = [
        model(BC, seeds=(1,)),
        model(dataclasses.replace(BC, actor_lr=1e-3)),
        model(BC, normalizer=STANDARD),
        dataclasses.replace(artifact, state=dataclasses.replace(artifact.state, step=np.array([8], np.int32))),
    ]
    assert len({other.digest for other in [artifact, *others]}) == 5


def _by_hand(weights):
    actor = weights["nets"]["actor"]
    for name in ("hidden/0/weight", "hidden/0/bias"):
        yield f"nets/actor/trunk/{name}", getattr(actor.trunk.hidden[0], name.rpartition("/")[2])
    for name in ("scale", "offset"):
        yield f"nets/actor/trunk/norms/0/{name}", getattr(actor.trunk.norms[0], name)
    for name in ("weight", "bias"):
        yield f"nets/actor/trunk/output/{name}", getattr(actor.trunk.output, name)
    yield "nets/actor/log_std", actor.log_std
    yield "step", weights["step"]


def test_descendants_know_their_ancestors():
    first = model(BC, settings={"phase": "offline"})
    second = model(ALGORITHMS["cql"], lineage=first.ancestry())
    assert [entry["digest"] for entry in second.ancestry()] == [first.digest, second.digest]
    assert first.ancestry()[0] == {
        "digest": first.digest, "algorithm": "bc", "phase": "offline", "steps": 7, "seeds": [0],
        "created": first.created,
    }  # fmt: skip


def test_a_leaf_without_the_axis_of_members_is_refused():
    with pytest.raises(
        ArtifactError, match=r"nets/actor/trunk/hidden/0/weight has shape \(1, 3, 16\), expected a leading axis of 2"
    ):
        dataclasses.replace(model(BC), seeds=(0, 1))


def test_an_artifact_outlives_the_donation_of_its_state():
    start = jax.tree.map(jax.numpy.array, model(BC).state)
    artifact = dataclasses.replace(model(BC), state=start)
    before = artifact.policy(observations(2))
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0, state), donate_argnums=0)(start)
    assert start.step.is_deleted()
    np.testing.assert_array_equal(dataclasses.replace(artifact).policy(observations(2)), before)


# -- writing --------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(saved, tmp_path):
    other = model(BC, seeds=(9,))
    with pytest.raises(UsageError, match="model already exists; choose another name"):
        other.save(saved)
    assert Artifact.load(saved).seeds == (0,)
    other.save(saved, overwrite=True)
    assert Artifact.load(saved).seeds == (9,)
    assert not (saved / "eval.json").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(UsageError, match=r"photos is not an artifact \(no artifact.json\) and is left alone"):
        other.save(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "photos"]


def test_parents_are_made_and_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    model(BC).save(tmp_path / "run" / "artifact")
    assert Artifact.load(tmp_path / "run").steps == 7
    Artifact.load(model(BC).save(tmp_path / "a" / "b" / "model"))


@pytest.mark.parametrize("file", [1, 3, 7])
def test_a_full_disk_leaves_the_old_artifact_whole(file, saved, tmp_path, monkeypatch):
    written, real = [], os.fsync

    def full(handle):
        written.append(handle)
        if len(written) == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="cannot be written: No space left on device; .* untouched"):
        model(BC, seeds=(9,)).save(saved, overwrite=True)
    written.clear()
    with pytest.raises(ArtifactError, match="new cannot be written: No space left on device$"):
        model(BC).save(tmp_path / "new")
    monkeypatch.undo()
    assert Artifact.load(saved).seeds == (0,)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_write_that_the_system_cuts_short(saved, tmp_path):
    """A limit on the size of files, so that the failure is the system's own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ArtifactError, match="cannot be written: File too large; .* untouched"):
            model(BC, seeds=(9,)).save(saved, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Artifact.load(saved).seeds == (0,)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_old_artifact_comes_back_when_the_new_one_cannot_take_its_place(saved, monkeypatch):
    real = Path.rename

    def rename(self, target):
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ArtifactError, match="Input/output error; .* untouched"):
        model(BC, seeds=(9,)).save(saved, overwrite=True)
    assert Artifact.load(saved).seeds == (0,)


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    broken = model(BC)
    broken.state.nets["actor"].log_std[0, 1] = np.nan
    refusals = {
        "nets/actor/log_std holds NaN or infinity": broken,
        "settings or lineage: only plain JSON data": model(BC, settings={"env": object()}),
        "data: only plain JSON data": model(BC, data={"a": np.zeros(2)}),
        "evaluation: only plain JSON data": model(BC, evaluation={"return": float("nan")}),
    }
    for message, artifact in refusals.items():
        with pytest.raises((ArtifactError, UsageError), match=message):
            artifact.save(tmp_path / "model")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written: (Not a directory|File exists)"):
        model(BC).save(tmp_path / "file" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- reading what is not whole --------------------------------------------------------------------------------


def test_the_folder_of_a_run_serves(tmp_path):
    folder = model(BC, seeds=(4,)).save(tmp_path / "run" / "artifact")
    assert Artifact.load(tmp_path / "run").seeds == Artifact.load(str(folder)).seeds == (4,)


def test_folders_without_an_artifact_say_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note").touch()
    expected = r"expected an artifact \(a folder with artifact.json\) or the folder of a run that has written one"
    cases = {
        "none": "none does not exist", "empty": "empty is empty", "run/config.json": "config.json is a file",
        "folder": "folder holds neither artifact.json nor artifact/artifact.json",
    }  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(ArtifactError, match=f"{message}; {expected}"):
            Artifact.load(tmp_path / name)


def test_a_run_that_is_not_complete_says_how_to_go_on(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="run is a run that is not complete; go on with it .* --resume"):
        Artifact.load(tmp_path / "run")


def test_a_folder_of_several_runs_names_them(tmp_path):
    for name in ("calql/pretrain", "cql/pretrain"):
        model(BC).save(tmp_path / name / "artifact")
    with pytest.raises(
        ArtifactError, match=r"holds several runs; name one of them: \S*/calql/pretrain, \S*/cql/pretrain$"
    ):
        Artifact.load(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "normalizer.safetensors"])
def test_damaged_arrays_are_named(name, saved):
    file = saved / name
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:4], b"", b"\xff" * 200):
        file.write_bytes(broken)
        with pytest.raises(ArtifactError, match=f"{name} is damaged or cut short"):
            Artifact.load(saved)
    file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(ArtifactError, match=f"{name} was changed or damaged after it was written: SHA-256"):
        Artifact.load(saved)
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        Artifact.load(saved)


@pytest.mark.parametrize("name", ["artifact.json", "data.json", "eval.json"])
def test_damaged_json_is_named(name, saved):
    file = saved / name
    for broken in (file.read_bytes()[:-3], b"", b"\xff\xfe\x00"):
        file.write_bytes(broken)
        with pytest.raises(ArtifactError, match=f"{name} is not JSON"):
            Artifact.load(saved)


def test_other_files_are_missed_too(saved):
    for name in ("data.json", "example.npz"):
        content = (saved / name).read_bytes()
        (saved / name).unlink()
        with pytest.raises(ArtifactError, match=f"{name} .*the artifact is not whole"):
            Artifact.load(saved)
        (saved / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ArtifactError, match=f"{name} is not"):
            Artifact.load(saved)
        (saved / name).write_bytes(content)
    assert Artifact.load(saved).steps == 7


def test_a_newer_format_asks_for_an_upgrade(saved):
    edit_json(saved / "artifact.json", format=2, versions={"headstart": "9.1"}, algorithm="in another form")
    with pytest.raises(ArtifactError, match="format 2 .written by headstart 9.1., .* up to 1; upgrade headstart"):
        Artifact.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "other"}, "does not describe an artifact"),
        ({"format": "1"}, "does not describe an artifact"),
        ({"seeds": 3}, "expected seeds as list, found int"),
        ({"created": None}, "expected created as str, found NoneType"),
        ({"digests": {"weights": ""}}, "optimizer is missing from digests"),
        ({"seeds": [1]}, "artifact.json was changed or damaged"),
        ({"digest": "0" * 64}, "artifact.json was changed or damaged"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(changes, message, saved):
    edit_json(saved / "artifact.json", **changes)
    with pytest.raises(ArtifactError, match=message):
        Artifact.load(saved)


def test_a_configuration_that_this_version_does_not_know(saved):
    def rewrite(**algorithm):
        manifest = json.loads((saved / "artifact.json").read_text())
        manifest["algorithm"] |= algorithm
        config = json.dumps({key: manifest[key] for key in ("algorithm", "spec", "seeds")}, sort_keys=True)
        manifest["digests"]["config"] = hashlib.sha256(config.encode()).hexdigest()
        (saved / "artifact.json").write_text(json.dumps(manifest))

    rewrite(config={"actor_width": [16]})
    with pytest.raises(
        ArtifactError, match="artifact.json: unknown field of bc 'actor_width'; did you mean 'actor_widths'"
    ):
        Artifact.load(saved)
    rewrite(name="bcc")
    with pytest.raises(ArtifactError, match="artifact.json: unknown algorithm 'bcc'; did you mean 'bc'"):
        Artifact.load(saved)


PATH = "nets/actor/trunk/output/bias"


def rename(arrays):
    arrays["nets/actor/trunk/output/biases"] = arrays.pop(PATH)


def drop(arrays):
    del arrays[PATH]


def add(arrays):
    arrays["nets/value/output/bias"] = np.zeros(3)


def reshape(arrays):
    arrays[PATH] = np.zeros((1, 3), np.float32)


def retype(arrays):
    arrays[PATH] = arrays[PATH].astype(np.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, f"{PATH} is missing"),
        (drop, f"{PATH} is missing"),
        (add, "nets/value/output/bias is not expected"),
        (reshape, rf"{PATH} has shape \(1, 3\) and type float32, expected \(1, 2\) and float32"),
        (retype, rf"{PATH} has shape \(1, 2\) and type float64, expected \(1, 2\) and float32"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, saved):
    edit_arrays(saved / "weights.safetensors", change)
    with pytest.raises(ArtifactError, match=f"weights.safetensors: {message}"):
        Artifact.load(saved)


def test_the_self_test_catches_a_model_that_acts_otherwise(saved):
    examples = dict(np.load(saved / "example.npz"))
    np.testing.assert_allclose(Artifact.load(saved).policy(examples["observation"]), examples["action"][0], atol=2e-6)
    for change, message in {"action": "does not act as it did", "observation": "does not act as it did"}.items():
        np.savez(saved / "example.npz", **examples | {change: examples[change] + 0.1})
        with pytest.raises(ArtifactError, match=f"example.npz: the model {message}"):
            Artifact.load(saved)
    np.savez(saved / "example.npz", observation=examples["observation"])
    with pytest.raises(ArtifactError, match=r"expected actions of shape \(1, 16, 2\), found nothing"):
        Artifact.load(saved)
    np.savez(saved / "example.npz", observation=examples["observation"][:, :2], action=examples["action"])
    with pytest.raises(ArtifactError, match=r"example.npz does not fit the model: observation has shape \(1, 16, 2\)"):
        Artifact.load(saved)


def test_the_self_test_of_discrete_actions(tmp_path):
    saved = model(ALGORITHMS["discrete_cql"], DISCRETE).save(tmp_path / "model")
    examples = dict(np.load(saved / "example.npz"))
    np.savez(saved / "example.npz", **examples | {"action": (examples["action"] + 1) % 4})
    with pytest.raises(ArtifactError, match="does not act as it did"):
        Artifact.load(saved)
