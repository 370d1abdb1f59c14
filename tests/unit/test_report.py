"""The report of runs whose numbers are known: its numbers, its page, its files, and what it refuses."""

from __future__ import annotations

import csv
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from run_examples import DATA, ENV, write_methods, write_run

from headstart.errors import DataError, UsageError
from headstart.report import page
from headstart.report.tables import Scored, Table
from headstart.train.evaluate import bounds

VOID = {"meta", "link", "br", "img", "hr", "input", "source"}


class Page(html.parser.HTMLParser):
    """Elements of a page: (tag, attributes) and the text of each; asserts that tags are closed in order."""

    def __init__(self, file: Path):
        super().__init__()
        self.source = file.read_text()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(folder of runs, folder of its report): two methods on one task."""
    folder = tmp_path_factory.mktemp("two")
    write_methods(folder / "runs", calql=1, cql=0)
    page.write([folder / "runs"], folder / "report")
    return folder / "runs", folder / "report"


def results(*runs: Path, **options) -> list[dict[str, str]]:
    """The rows of results.csv, without drawing the figures."""
    return list(csv.DictReader(page.contents(runs, **options)["files"]["results.csv"].splitlines()))


def episodes(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


# -- numbers ------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_files(two):
    runs, out = two
    rows = {row["method"]: row for row in csv.DictReader((out / "results.csv").read_text().splitlines())}
    assert rows == {row["method"]: row for row in results(runs)}
    assert list(rows) == ["calql", "cql"]
    for label, row in rows.items():
        lines = episodes(runs / label / "finetune")

        def mean(step: int, seed: int | None = None, lines=lines) -> float:
            chosen = [e["success"] for e in lines if e["step"] == step and seed in (None, e["training_seed"])]
            return sum(chosen) / len(chosen)

        assert float(row["before"]) == pytest.approx(mean(0))
        assert float(row["after"]) == pytest.approx(mean(100))
        # Of the steps up to 10, a tenth of 100, each seed's own worst.
        assert float(row["dip"]) == pytest.approx(np.mean([min(mean(0, seed), mean(10, seed)) for seed in (0, 1)]))
        steps = [0, 10, 50, 100]
        area = np.trapezoid([mean(step) for step in steps], steps) / 100
        assert float(row["regret"]) == pytest.approx(1.0 - area)
        assert (row["seeds"], row["episodes"]) == ("2", "2")
        timing = [(runs / label / phase / "timing.jsonl").read_text() for phase in ("pretrain", "finetune")]
        assert int(row["seconds"]) == round(sum(json.loads(part.splitlines()[-1])["seconds"] for part in timing))
        for name in ("before", "dip", "after"):
            assert float(row[f"{name} low"]) <= float(row[name]) <= float(row[f"{name} high"])


def test_the_page_shows_the_same_numbers(two):
    runs, out = two
    shown = Page(out / "index.html").text
    rows = {row["method"]: row for row in results(runs)}
    for label, row in rows.items():
        for name in ("before", "dip", "after", "regret"):
            mean, low, high = (100 * float(row[f"{name}{end}"]) for end in ("", " low", " high"))
            assert f"{mean:.0f}% {bounds(low, high, '.0f')}" in shown
        digest = json.loads((runs / label / "finetune" / "artifact" / "artifact.json").read_text())["digest"]
        assert digest in shown
    # calql's two seeds end at 1 and 1, cql's at 0 and 1: ahead in half of the pairs, level in the other half.
    assert "calql > cql, probability: 75% [50, 100]." in shown
    for fact in ("minari:demo", "rewards scaled by 2", "d" * 64, "Demo-v1"):
        assert fact in shown


def test_tables_for_a_paper(two):
    _, out = two
    table, latex = (out / "results.md").read_text(), (out / "results.tex").read_text()
    assert re.split(r"[| ]+", table.splitlines()[0])[1:-1] == [
        "method", "before", "dip", "after", "regret", "seeds", "episodes", "seconds",
    ]  # fmt: skip
    calql = results(two[0])[0]
    before, dip = (
        [round(100 * float(calql[f"{name}{end}"])) for end in ("", " low", " high")] for name in ("before", "dip")
    )
    assert (before[0], dip[0]) == (75, 25)
    assert re.search(r"\| calql +\| {}% \[{}, {}\] +\| {}% \[{}, {}\] ".format(*before, *dip), table)
    assert latex.splitlines()[:2] == [r"\begin{tabular}{llllllll}", r"\toprule"]
    assert r"calql & {}\% [{}, {}] & {}\% [{}, {}] &".format(*before, *dip) in latex
    # All three stand on the page, to be copied.
    text = Page(out / "index.html").text
    for name in ("results.md", "results.tex", "results.csv"):
        assert " ".join((out / name).read_text().split()) in " ".join(text.split())


def test_returns_where_nobody_tells_success_or_when_asked(tmp_path, two):
    scores = {0: {0: [-30.0, -10.0]}, 10: {0: [-20.0, -2.0]}}
    write_run(tmp_path / "run", scores=scores, seeds=(0,), success=False)
    (row,) = results(tmp_path / "run")
    assert (row["before"], row["after"], row.get("regret")) == ("-20.0", "-11.0", None)
    assert [float(row["after"]) for row in results(two[0], score="return")] == [0.0, -5.0]


def test_returns_are_normalised_where_d4rl_has_references(tmp_path):
    scores = {0: {0: [0.0], 1: [0.0]}, 10: {0: [-20.272305], 1: [3234.3]}}
    write_run(tmp_path / "run", scores=scores, success=False, env="Hopper-v4")
    (row,) = results(tmp_path / "run")
    assert [float(row[f"normalised{end}"]) for end in ("", " low", " high")] == pytest.approx([50.0, 0.0, 100.0])
    assert "100 for an expert" in Page(page.write([tmp_path / "run"], tmp_path / "report").page).text


def test_pretraining_alone_has_no_switch(tmp_path):
    write_run(tmp_path / "run", "offline", scores={0: {0: [0], 1: [0]}, 10: {0: [1], 1: [0]}})
    (row,) = results(tmp_path / "run")
    assert (row["before"], row["dip"], row["after"], row["regret"]) == ("", "", "0.5", "")


def test_finetuning_on_data_is_scored_from_its_own_start(tmp_path):
    source = write_run(tmp_path / "a", "offline", scores={0: {0: [0], 1: [0]}, 10: {0: [1], 1: [0]}})
    write_run(tmp_path / "b", "adapt", source=source, scores={0: {0: [1], 1: [0]}, 10: {0: [1], 1: [1]}})
    (row,) = results(tmp_path)
    assert (row["before"], row["after"]) == ("0.5", "1.0")
    # The figure has both phases, one after the other.
    (drawing,) = [drawing for drawing in page.contents([tmp_path])["drawings"] if drawing.name == "curves-1"]
    assert [step for _, _, step, *_ in drawing.numbers.rows] == [0, 10, 10, 20]


def test_long_logs_are_drawn_by_few_points(tmp_path):
    metrics = [
        {"phase": "offline", "step": s, "seed": k, "grad/norm": float(s)} for s in range(1, 1002) for k in (0, 1)
    ]
    write_run(tmp_path / "run", "offline", metrics=metrics)
    page.write([tmp_path / "run"], tmp_path / "report")
    source = (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / "report" / "figures" / "training-1-grad-norm.svg").exists()
    # Means of six neighbours at the start, of the five that are left at the end.
    assert "cql, pretraining: from 3.5 to 999." in source
    assert len(source) < 60_000


def test_several_tasks(tmp_path):
    for i, task in enumerate(("door-v1", "pen-v1")):
        for label, end in (("calql", 1), ("cql", i)):
            scores = {0: {0: [0], 1: [0]}, 10: {0: [end], 1: [end]}}
            write_run(tmp_path / "runs" / task / label, scores=scores, env=task, algorithm=label)
    assert [(row["task"], row["method"], row["after"]) for row in results(tmp_path / "runs")] == [
        ("door-v1", "calql", "1.0"), ("door-v1", "cql", "0.0"), ("pen-v1", "calql", "1.0"), ("pen-v1", "cql", "1.0"),
    ]  # fmt: skip
    compared = dict(page.contents([tmp_path / "runs"])["comparisons"])
    assert list(compared) == ["All 2 tasks", "door-v1", "pen-v1"]
    # Ahead in one task, level in the other.
    assert compared["All 2 tasks"][2].description == "calql > cql, probability: 75% [all alike]."
    assert compared["pen-v1"][2].description == "calql > cql, probability: 50% [all alike]."


# -- page ---------------------------------------------------------------------------------------------------------


def test_page_is_whole(two):
    _, out = two
    found = Page(out / "index.html")
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes.get("href") or attributes.get("xlink:href") or "" for _, attributes in found.elements]
    references = [link[1:] for link in links if link.startswith("#")] + re.findall(r"url\(#([^)]*)\)", found.source)
    assert len(references) > 20
    assert set(references) <= set(ids)
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in found.elements}
    assert all(name in ids for svg in found.all("svg") for name in svg["aria-labelledby"].split())
    assert len(found.all("table")) == len(found.all("caption"))
    assert '<th scope="col"></th>' not in found.source
    assert all(image["alt"] for image in found.all("img"))


def test_every_figure_is_there_and_is_a_file_too(two):
    _, out = two
    found = Page(out / "index.html")
    names = {figure["id"] for figure in found.all("figure")}
    assert {"curves-1", "task-1-iqm", "task-1-profile", "task-1-improvement", "training-1-q_policy"} <= names
    shown = {svg["aria-labelledby"].split("-title")[0].rsplit("-", 1)[0] for svg in found.all("svg")}
    assert shown == names
    for name in names:
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert xml.etree.ElementTree.parse(out / "figures" / f"{name}.svg").getroot().tag.endswith("svg")
    assert len(list((out / "figures").iterdir())) == 2 * len(names)
    # The colours are the page's.
    assert "var(--series-2)" in found.source
    assert not re.search(r"(?:stroke|fill): ?#(?:0072b2|2a2f36)", found.source)


def test_nothing_is_fetched(two):
    source = (two[1] / "index.html").read_text()
    named = set(re.findall(r"https?://[^\s\"'<>)]+", source))
    assert named <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"@import|\bsrc=\"(?!data:)|url\((?!#)", source)
    assert "default-src 'none'" in source


def test_names_are_only_text(tmp_path):
    evil = '<script>alert("x")</script> & $x^2$ | 100%_'
    folder = evil.replace("/", "")
    for label in (folder, "_other"):
        write_run(tmp_path / "runs" / label, scores={0: {0: [1], 1: [0]}, 10: {0: [1], 1: [1]}}, weight=len(label))
    config = tmp_path / "runs" / folder / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"data": DATA | {"source": evil, "transforms": [evil]}})
    )
    report = page.write([tmp_path / "runs"], tmp_path / "report", title=evil)
    found = Page(report.page)
    assert [element for element in found.all("script") if element] == []
    assert len(found.all("script")) == 1
    assert evil in found.text
    assert folder in found.text
    assert "_other" in re.search(r"<svg.*?</svg>", found.source, re.DOTALL).group()
    for name in ("results.md", "results.tex"):
        assert "100" in (tmp_path / "report" / name).read_text()
    assert r"\& \$x\textasciicircum{}2\$ | 100\%\_" in (tmp_path / "report" / "results.tex").read_text()
    assert r"\| 100" in (tmp_path / "report" / "results.md").read_text()


# -- what else runs hold ------------------------------------------------------------------------------------------


def finding(**changes) -> dict:
    return {
        "name": "calibration", "title": "Calibration", "verdict": "Q lies 3 under the returns.", "flag": True,
        "numbers": {"signed error": -3.25}, "table": {"columns": ["quantile", "Q"], "rows": [[0.1, -5.5], [0.9, None]]},
        "figures": ["calibration.svg"], "skipped": None,
    } | changes  # fmt: skip


def write_diagnosis(run: Path, *findings: dict, **changes) -> Path:
    folder = run / "diagnose"
    folder.mkdir()
    (folder / "calibration.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    content = {"format": 1, "artifact": "a" * 64, "algorithm": "cql", "data": "minari:demo", "environment": None}
    (folder / "diagnose.json").write_text(json.dumps(content | {"findings": findings} | changes))
    return folder


def test_diagnoses(tmp_path):
    write_run(tmp_path / "run", scores={0: {0: [1], 1: [0]}, 10: {0: [1], 1: [1]}})
    write_diagnosis(
        tmp_path / "run", finding(), finding(title="Shift", flag=False, verdict="None found.", figures=[], table=None),
        finding(title="Adversarial", flag=None, verdict="Not made: no critic.", skipped="no critic", figures=[],
                numbers={}, table=None),
    )  # fmt: skip
    found = Page(page.write([tmp_path / "run"], tmp_path / "report").page)
    assert re.search(r"flagged Calibration Q lies 3 under the returns\..*signed error -3\.25", found.text)
    assert "sound Shift None found." in found.text
    assert "skipped Adversarial Not made: no critic." in found.text
    (picture,) = found.all("img")
    assert picture["alt"] == "Calibration: Q lies 3 under the returns."
    assert picture["src"].startswith("data:image/svg+xml;base64,")
    # Of two runs there is an overview; the lighter of two files is shown.
    folder = write_diagnosis(tmp_path / "run" / "artifact", finding())
    (tmp_path / "other").mkdir()
    (folder / "calibration.png").write_bytes(b"PNG")
    shutil.copytree(tmp_path / "run", tmp_path / "other" / "run")
    shutil.rmtree(tmp_path / "other" / "run" / "diagnose")
    shutil.move(folder, tmp_path / "other" / "run" / "diagnose")
    found = page.contents([tmp_path / "run", tmp_path / "other"])
    assert found["overview"].columns == ("finding", "cql (run): run", "cql (other): run")
    assert found["overview"].rows == (
        ("Calibration", "flagged", "flagged"), ("Shift", "sound", None), ("Adversarial", "skipped", None),
    )  # fmt: skip
    assert found["diagnoses"][1].findings[0].figures[0].uri.startswith("data:image/png;base64,")


def test_diagnoses_that_are_not_understood_are_told(tmp_path):
    write_run(tmp_path / "run", scores={0: {0: [1], 1: [0]}})
    folder = write_diagnosis(tmp_path / "run", finding(figures=["absent.svg"]))
    with pytest.raises(DataError, match="absent.svg cannot be read"):
        page.write([tmp_path / "run"], tmp_path / "report")
    file = folder / "diagnose.json"
    content = json.loads(file.read_text())
    for changes, said in (({"format": 2}, "expected format 1, found 2"), ({"findings": [{}]}, "does not describe")):
        file.write_text(json.dumps(content | changes))
        with pytest.raises(DataError, match=said):
            page.write([tmp_path / "run"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_inspection_and_videos(tmp_path):
    write_run(tmp_path / "run", "offline", scores={0: {0: [1], 1: [0]}})
    spread = dict(zip(("minimum", "q25", "median", "q75", "maximum", "mean"), (1, 2, 3, 4, 5.5, 3.125), strict=True))
    inspection = {
        "sha256": DATA["sha256"], "success_rate": 0.25, "cut_off": 1.0, "lengths": spread, "rewards": None,
        "returns": None, "uses": [{"name": "imitation", "possible": True, "reason": "it has actions"}],
        "columns": [
            {"name": "rewards", "kind": "float32", "low": -1.0, "high": 0.0, "constant": 0, "nonfinite_rows": 0}
        ],
    }  # fmt: skip
    (tmp_path / "run" / "inspect.json").write_text(json.dumps(inspection))
    (tmp_path / "run" / "videos").mkdir()
    (tmp_path / "run" / "videos" / "best.mp4").write_bytes(b"film")
    found = Page(page.write([tmp_path / "run"], tmp_path / "report").page)
    for words in ("episodes with success 25.0%", "episode length 1 2 3 4 5.5 3.125", "imitation yes it has actions"):
        assert words in found.text
    assert found.all("video")[0]["src"] == "data:video/mp4;base64,ZmlsbQ=="
    (tmp_path / "run" / "inspect.json").write_text(json.dumps(inspection | {"sha256": "other"}))
    (note,) = page.contents([tmp_path / "run"])["notes"]
    assert note.endswith("run: inspect.json tells of other data than the run learned from")


def test_videos_are_of_the_last_evaluation(tmp_path, monkeypatch):
    write_methods(tmp_path / "runs", calql=1, cql=0)
    asked = []

    def evaluate(run: Path, *, video: Path, **options):
        asked.append((run.parent.name, run.name, options))
        if run.parent.name == "cql":
            raise UsageError(f"{ENV} cannot be drawn here")
        video.write_bytes(b"film")

    monkeypatch.setattr("headstart.api.evaluate", evaluate)
    found = page.contents([tmp_path / "runs"], video=True)
    same = {"env": ENV, "episodes": 2, "seed": 100, "sample": True}
    assert asked == [("calql", "finetune", same), ("cql", "finetune", same)]
    assert [video.about for video in found["videos"]] == ["calql: best-median-worst"]
    assert found["notes"] == [f"{tmp_path}/runs/cql/finetune: no video, {ENV} cannot be drawn here"]
    # What is there is not recorded again, what failed left nothing behind.
    page.contents([tmp_path / "runs"], video=True)
    assert [label for label, _, _ in asked] == ["calql", "cql", "cql"]
    assert not (tmp_path / "runs" / "cql" / "finetune" / "videos").exists()


def test_what_is_missing_is_noted(tmp_path):
    source = write_run(tmp_path / "runs" / "a", "offline", scores={0: {0: [0], 1: [0]}}, env="other-v1")
    write_run(tmp_path / "runs" / "b", source=source, scores={0: {0: [0], 1: [0]}, 9: {0: [1], 1: [0]}}, complete=False)
    write_run(tmp_path / "runs" / "c", "offline", algorithm="bc", metrics=[{"phase": "offline", "step": 1, "seed": 0}])
    report = page.write([tmp_path / "runs"], tmp_path / "report")
    assert report.notes == (
        f"{tmp_path}/runs/a: evaluated in other-v1, not in {ENV}; its scores are left out",
        f"{tmp_path}/runs/b: not complete, there is no artifact yet",
        "c: no evaluation episodes, so no scores; give its run an environment (--env)",
    )
    text = Page(report.page).text
    assert all(note in text for note in report.notes)
    # Without any score there is still a page of the rest.
    report = page.write([tmp_path / "runs" / "c"], tmp_path / "none")
    assert "results" not in {attributes.get("id") for attributes in Page(report.page).all("section")}
    assert not (tmp_path / "none" / "results.md").exists()


def test_an_evaluation_that_is_being_written_is_left_out(tmp_path):
    run = tmp_path / "run"
    write_run(run, scores={0: {0: [0, 0], 1: [0, 0]}, 10: {0: [1, 1], 1: [1, 0]}, 20: {0: [1, 1]}}, complete=False)
    (row,) = results(run)
    assert row["after"] == "0.75"


# -- refusals -----------------------------------------------------------------------------------------------------


def test_damaged_lines_are_told(tmp_path):
    run = tmp_path / "run"
    write_run(run, scores={0: {0: [0], 1: [0]}, 10: {0: [1], 1: [0]}, 20: {0: [1], 1: [0]}})
    lines = (run / "episodes.jsonl").read_text().splitlines()
    (run / "episodes.jsonl").write_text("\n".join([lines[0], "{,", *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="episodes.jsonl: line 2 is damaged"):
        page.write([run], tmp_path / "report")
    (run / "episodes.jsonl").write_text("\n".join(lines[:2] + lines[3:]) + "\n")
    with pytest.raises(DataError, match="evaluation at step 10 is not whole"):
        page.write([run], tmp_path / "report")


def test_what_is_there_is_left_alone(tmp_path):
    runs = tmp_path / "run"
    write_run(runs)
    page.write([runs], tmp_path / "report")
    with pytest.raises(UsageError, match="exists and is not empty"):
        page.write([runs], tmp_path / "report")
    (tmp_path / "report" / "figures").mkdir()
    (tmp_path / "report" / "figures" / "old.png").write_text("")
    (tmp_path / "report" / "notes.txt").write_text("")
    page.write([runs], tmp_path / "report", overwrite=True)
    assert not (tmp_path / "report" / "figures" / "old.png").exists()
    assert (tmp_path / "report" / "notes.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "mine" / "index.html").write_text("<p>my page")
    with pytest.raises(UsageError, match="no report .* left alone"):
        page.write([runs], tmp_path / "mine", overwrite=True)


def test_cells_of_a_table():
    table = Table(("a|b", "c"), ((1234, Scored(None, "success")), (0.123456, Scored((1.0, 0.5, 2.0), "return"))))
    assert table.markdown().splitlines()[2:] == ["| 1,234  | -          |", "| 0.1235 | 1 [0.5, 2] |"]
    assert table.csv() == "a|b,c,c low,c high\n1234,,,\n0.123456,1.0,0.5,2.0\n"
