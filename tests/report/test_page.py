"""The page as a reader gets it: whole, honest about gaps, harmless, and the same every time."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from terraloom.classes import ClassTable, preset
from terraloom.report.page import write_report
from terraloom.report.wording import interval, percent, points

from .conftest import HOSTILE, PROVENANCE

SECTIONS = (
    "verdict", "data", "pipeline", "floors", "labeller", "synthetic", "composition", "embedding",
    "fidelity", "captions", "published", "provenance",
)  # fmt: skip


class _Text(HTMLParser):
    """Collects text, tags and attributes as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _write(
    project: Path, folder: Path, classes: ClassTable | None = None, title: str = "demo"
) -> str:
    table = classes or preset("worldcover7")
    path = write_report(project, folder, title=title, classes=table, provenance=PROVENANCE)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile_page(hostile_report: Path) -> str:
    return (hostile_report / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_every_section_and_links_to_it(page: str) -> None:
    for name in SECTIONS:
        assert f'<section id="{name}">' in page
        assert f'href="#{name}"' in page
    assert "Not run" not in page


def test_the_verdict_sentence_comes_first(page: str, project: Path) -> None:
    results = json.loads((project / "benchmark" / "results.json").read_text())
    text = _Text(page).text
    assert results["sentence"] in text
    assert text.index(results["sentence"]) < text.index("Arms on the real test rows")


def test_numbers_equal_those_in_the_results(page: str, project: Path) -> None:
    results = json.loads((project / "benchmark" / "results.json").read_text())
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.S)
    told = [_Text(html.unescape(row)).text for row in rows]
    for row in results["table"]:
        wanted = [row["arm"]]
        for metric in ("f1", "iou", "precision", "recall"):
            estimate = row[metric]
            wanted += [percent(estimate["mean"]), interval(estimate["low"], estimate["high"])]
        assert any(all(word in line for word in wanted) for line in told), row["arm"]
    for row in results["differences"]:
        wanted = [f"{row['arm']} − {row['control']}", points(row["mean"])]
        assert any(all(word in line for word in wanted) for line in told), wanted
    for row in results["per_class"]:
        wanted = [row["class"], points(row["mean"]), f"{row['p_holm']:.4f}", row["verdict"]]
        assert any(all(word in line for word in wanted) for line in told), wanted


def test_the_design_is_stated_with_its_weaknesses(page: str) -> None:
    text = _Text(page).text
    assert "3 segmenter seeds nested in 1 generator seed" in text
    assert "Absent from the test truth: shrub" in text
    assert "A/A check" in text
    assert "6 test places only" in text
    assert "In 4 of 12 runs the best val figure came at the last check" in text
    assert re.search(r"looks at test 12", text)
    assert "One generator seed" in text


def test_published_figures_are_those_of_the_paper(page: str) -> None:
    text = _Text(page).text
    for line in (
        "76.49 64.51 76.60 76.62", "74.79 62.56 77.74 72.40", "77.66 65.98 79.92 75.77",
        "77.56 65.86 – –", "77.24 65.49 – –",
    ):  # fmt: skip
        assert line in text
    for name, captions, redundancy, clipscore in (
        ("UCM-Captions", "10,500", "80.88", "30.18"),
        ("RSICD", "54,605", "67.02", "29.11"),
        ("NWPU-Captions", "157,500", "72.65", "30.25"),
        ("ARAS400k, real", "501,200", "8.01", "29.89"),
        ("ARAS400k, synthetic", "1,500,000", "13.06", "29.58"),
        ("ARAS400k, all", "2,001,200", "12.85", "29.66"),
    ):
        assert f"{captions} {redundancy} {clipscore} –" in text, name
    assert "47–48" in text
    assert "not a comparison" in text


def test_every_figure_and_table_names_its_source(page: str) -> None:
    for block in re.findall(r"<figure.*?</figure>", page, re.S):
        assert "source: <code>" in block, block[:200]


def test_equal_inputs_give_equal_bytes(project: Path, report: Path, tmp_path: Path) -> None:
    _write(project, tmp_path)
    first = sorted(path for path in report.rglob("*") if path.is_file())
    assert len(first) > 30
    for path in first:
        twin = tmp_path / path.relative_to(report)
        assert path.read_bytes() == twin.read_bytes(), path.name
    assert not list(tmp_path.rglob("*.part"))


def test_a_project_where_nothing_ran_says_so(tmp_path: Path) -> None:
    page = _write(tmp_path / "empty", tmp_path / "out")
    text = _Text(page).text
    for stage in ("build", "segment", "generate", "label", "caption", "score", "curate",
                  "benchmark"):  # fmt: skip
        assert f"Not run: stage {stage}" in text, stage
    for name in SECTIONS:
        assert f'<section id="{name}">' in page


@pytest.mark.parametrize("stage", ["benchmark", "caption", "score", "label", "build", "generate"])
def test_a_missing_stage_is_said_and_the_rest_is_shown(
    project: Path, tmp_path: Path, stage: str
) -> None:
    shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns(stage))
    text = _Text(_write(tmp_path / "project", tmp_path / "out")).text
    assert f"Not run: stage {stage}" in text


def test_hostile_text_never_becomes_markup(hostile_page: str) -> None:
    seen = _Text(hostile_page)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    # It is shown as text: in captions, ids, classes, places, filters and the title.
    assert seen.text.count(HOSTILE) > 20
    assert html.escape(HOSTILE) in hostile_page


def test_the_page_asks_nothing_of_the_network(page: str) -> None:
    seen = _Text(page)
    addresses = [value for name, value in seen.attributes if name in ("src", "href") and value]
    assert addresses
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert "default-src 'none'" in page
    # Figures point at their own clips and hatches, and at nothing else.
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page


def test_figures_are_saved_as_files_too(report: Path) -> None:
    names = {path.name for path in (report / "figures").glob("*.png")}
    assert {
        "paired-differences.png", "class-differences.png", "validation-curves.png",
        "composition.png", "embedding.png", "funnel.png", "generator-curves.png",
        "grid-spade.png", "real-samples.png", "conditional-samples.png",
    } <= names | {n.replace("-unet", "") for n in names}  # fmt: skip


def test_reporting_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, terraloom.report.page; "
        "sys.exit(' '.join({'torch', 'matplotlib.pyplot'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
