"""`headstart data label` on walks along a chain."""

from __future__ import annotations

import json

import numpy as np
import pytest

import headstart as hs
from headstart.data import sources
from headstart.labels.preferences import Comparisons

pytestmark = pytest.mark.usefixtures("quick_compilation")

QUICK = ("--widths", "8", "--steps", "50", "--learning-rate", "0.01")


@pytest.fixture
def source(walks, tmp_path):
    sources.write(walks, f"arrays:{tmp_path / 'walks'}")
    return "arrays:walks"


def test_each_way_to_label_explains_its_settings(headstart):
    code, out, _ = headstart("data", "label", "--help")
    assert code == 0
    for name in ("zero", "classifier", "distance", "preferences"):
        assert f"\n  {name} " in out
    code, out, _ = headstart("data", "label", "--by", "classifier", "--help")
    assert code == 0
    for flag in ("--examples", "--prior", "--calibration", "--cut"):
        assert flag in out
    assert "\n  label " in headstart("data", "--help")[1]


def test_a_classifier_labels_and_the_data_says_so(source, walks, headstart, tmp_path):
    goal = walks.observations[:, -1] == 1.0
    places = [[int(np.searchsorted(walks.starts, row, "right")) - 1, 0] for row in range(len(walks))]
    for row, place in enumerate(places):
        place[1] = int(row - walks.starts[place[0]])
    rows = np.random.default_rng(0).permutation(len(walks))
    examples = {
        "successes": [places[row] for row in rows if goal[row]][:10],
        "failures": [places[row] for row in rows if not goal[row]][:30],
    }
    (tmp_path / "labels.json").write_text(json.dumps(examples))
    command = ("data", "label", source, "--by", "classifier", "--examples", "labels.json", "--out", "arrays:labelled")
    code, out, err = headstart(*command, *QUICK)
    assert (code, err) == (0, "")
    assert "held-out error" in out
    assert "next: headstart advise arrays:labelled" in out
    data = hs.load("arrays:labelled")
    assert data.provenance.transforms[-1].startswith(
        "rewards by classifier of 10 successes and 30 failures of labels.json"
    )
    rewards = data.rewards[data.transitions]
    assert rewards[goal[data.transitions + 1]].min() > rewards[~goal[data.transitions + 1]].max()
    assert headstart(*command, *QUICK)[0] == 2


def test_preferences_and_zero(source, walks, headstart, tmp_path):
    segments = np.column_stack([np.arange(20), np.zeros(20, int), np.full(20, 1)])
    Comparisons(segments, segments[::-1], np.arange(20) % 2 * 1.0).write(tmp_path / "answers.json")
    code, out, err = headstart(
        "data", "label", source, "--by", "preferences", "--preferences", "answers.json", "--out", "minari:told", *QUICK
    )
    assert code == 0
    assert "held-out accuracy" in out
    assert "warning: the reward model is not better than chance" in err
    assert "next: " not in out
    code, _, _ = headstart("data", "label", source, "--by=zero", "--out", "arrays:zero", "--labelled", "minari:told")
    assert code == 0
    both = hs.load("arrays:zero")
    assert both.episodes == 2 * walks.episodes
    assert (both.rewards[len(walks) :] == 0).all()


def test_mistakes_are_told(source, headstart):
    def said(*args):
        code, _, err = headstart("data", "label", source, *args)
        assert code == 2
        return err

    assert "missing --by; one of zero, classifier, distance, preferences" in said("--out", "arrays:x")
    assert "did you mean 'zero'" in said("--by", "zeros", "--out", "arrays:x")
    assert "labels by classifier need examples of success (--examples)" in said(
        "--by", "classifier", "--out", "arrays:x"
    )
    assert "labels by zero take no goal" in said("--by", "zero", "--out", "arrays:x", "--goal", "[1]")
    assert "unknown option '--prior'" in said("--by", "zero", "--out", "arrays:x", "--prior", "0.1")
