"""Random shifts of images: their law, what moves together, and that training is the same however it is cut."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import headstart as hs
from headstart.batch import Batch
from headstart.data.augment import shifted
from headstart.data.dataset import Dataset
from headstart.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
MOST = 2


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3)).astype(np.uint8)


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The image as seen through a window moved by so many pixels; beyond its edges these go on."""
    rows = np.clip(np.arange(image.shape[0]) + down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + right, 0, image.shape[1] - 1)
    return image[rows][:, columns]


def shift_of(image: np.ndarray, result: np.ndarray) -> tuple[int, int]:
    """By how much it was moved: exactly one shift fits, since pixels are random."""
    around = range(-MOST, MOST + 1)
    fits = [(i, j) for i in around for j in around if (moved(image, i, j) == result).all()]
    assert len(fits) == 1
    return fits[0]


def test_every_shift_is_as_likely_as_any_other():
    images = np.repeat(frames(1), 5_000, axis=0)
    found = np.asarray(shifted(Batch(images), MOST, KEY).observation)
    assert found.dtype == np.uint8
    kinds, counts = np.unique(found.reshape(len(found), -1), axis=0, return_counts=True)
    shifts = {shift_of(images[0], kind.reshape(images[0].shape)) for kind in kinds}
    assert len(shifts) == len(kinds) == (2 * MOST + 1) ** 2
    # Chi-square with 24 degrees of freedom: beyond 51.2 once in a thousand times.
    expected = len(images) / len(kinds)
    assert (np.square(counts - expected) / expected).sum() < 51.2


def test_images_of_a_row_move_alike_and_nothing_else_moves():
    batch = Batch(
        observation={"camera": frames(8), "state": np.ones((8, 2), np.float32)},
        action=np.ones((8, 2), np.float32),
        next_observation={"camera": frames(8, 1), "state": np.ones((8, 2), np.float32)},
        context=frames(8, 2),
    )
    found = jax.tree.map(np.asarray, shifted(batch, MOST, KEY))
    shifts = [shift_of(batch.observation["camera"][i], found.observation["camera"][i]) for i in range(8)]
    assert len(set(shifts)) > 2
    for i, shift in enumerate(shifts):
        assert shift_of(batch.next_observation["camera"][i], found.next_observation["camera"][i]) == shift
        assert shift_of(batch.context[i], found.context[i]) == shift
    for part in (found.observation, found.next_observation):
        np.testing.assert_array_equal(part["state"], 1.0)
    np.testing.assert_array_equal(found.action, batch.action)


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    episodes = [
        {"observations": frames(9, seed)[:, :4, :4], "actions": rng.uniform(-1, 1, (8, 2)).astype(np.float32)}
        for seed in range(4)
    ]
    return Dataset.from_episodes(episodes)


def test_training_on_shifted_images_is_the_same_on_device_and_host(data):
    options = {"steps": 3, "crop": 1}
    algorithm = hs.BC(actor_widths=(8,), batch_size=4)
    device, host = (hs.pretrain(algorithm, data, data_on=place, **options) for place in ("device", "host"))
    still = hs.pretrain(algorithm, data, steps=3)
    same = jax.tree.map(lambda a, b: (a == b).all(), device.state, host.state)
    assert jax.tree.all(same)
    assert not jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), device.state, still.state))


def test_there_must_be_images_to_shift():
    episode = {"observations": np.zeros((9, 2), np.float32), "actions": np.zeros((8, 1), np.float32)}
    with pytest.raises(UsageError, match=r"there are no images to shift \(crop 3\): observation float32\[2\]"):
        hs.pretrain(hs.BC(), Dataset.from_episodes([episode]), steps=1, crop=3)
    with pytest.raises(UsageError, match="OfflineOptions.crop: expected at least 0, found -1"):
        hs.pretrain(hs.BC(), Dataset.from_episodes([episode]), steps=1, crop=-1)
