"""The captioners' section: there when the stage ran, harmless, and with its floors."""

import pytest
from tests.image_to_text.toy import caption_table, settings

from terraloom.caption_benchmarking import CaptionInputs, run_caption_benchmark
from terraloom.errors import SettingsError
from terraloom.files import read_json
from terraloom.image_to_text.training import TrainedCaptioner
from terraloom.learning.device import make_fabric
from terraloom.pipeline import Pipeline
from terraloom.report.caption_benchmark_section import caption_benchmark_sections
from terraloom.report.page import render_page
from terraloom.report.reading import ProjectFiles
from terraloom.settings import settings_from
from terraloom.tables import Table
from terraloom.testing import toy_classes, write_real, write_synthetic

HOSTILE = "<script>alert(1)</script> Water dominates. Crops are absent."


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose captioners and references write mark-up."""
    folder = tmp_path_factory.mktemp("project")
    real = write_real(folder / "build" / "samples")
    made = write_synthetic(folder / "label" / "samples", ["real-000"], unconditional=0)
    captions = {
        "real": caption_table(
            real, folder / "caption" / "real", lambda key, index: f"{HOSTILE} {'abcdef'[index]}"
        ),
        "synthetic": caption_table(made, folder / "caption" / "synthetic"),
    }
    patch = pytest.MonkeyPatch()
    patch.setattr(
        TrainedCaptioner, "captions", lambda self, images, beams=1: [HOSTILE] * len(images)
    )
    run_caption_benchmark(
        CaptionInputs(real, made, frozenset(made.read(["id"])["id"].to_pylist()), captions),
        folder / "benchmark-captions", classes=toy_classes(),
        settings=settings("real", "real+both"), ledger=folder / "test-looks.jsonl",
        controls=folder / "caption-controls", seed=1, fabric=make_fabric(1),
    )  # fmt: skip
    patch.undo()
    return folder


@pytest.fixture(scope="module")
def page(project):
    return render_page("t", caption_benchmark_sections(ProjectFiles(project), toy_classes()))


def test_the_section_tells_verdict_tables_floors_and_examples(page, project):
    sentence = read_json(project / "benchmark-captions" / "results.json")["sentence"]
    assert sentence.split(":")[0] in page
    for words in (
        "random train caption", "constant caption", "one reference", "CIDEr-D", "claim precision",
        "false alarms, A/A", "looks of captioners at test", "a reference: ", "real+both: ",
    ):  # fmt: skip
        assert words in page
    assert page.count('class="contradicted"') + page.count('class="supported"') > 2


def test_three_examples_are_shown_evenly(project):
    (section,) = caption_benchmark_sections(ProjectFiles(project), toy_classes())
    (gallery,) = [block for block in section.blocks if block.kind == "gallery"]
    assert [card.title for card in gallery.cards] == ["real-012", "real-014", "real-017"]
    assert all(len(card.items) == 3 for card in gallery.cards)


def test_a_captioner_that_never_looks_is_told_not_to_beat_the_floor(page):
    assert "does not beat the floor" in page


def test_mark_up_in_captions_is_text(page):
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_without_the_stage_there_is_no_section(tmp_path):
    assert caption_benchmark_sections(ProjectFiles(tmp_path), toy_classes()) == ()


def test_the_stage_runs_from_settings_and_reaches_page_and_report(finished_project, tmp_path):
    import shutil

    from terraloom.settings import load_settings

    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    pipeline = Pipeline(load_settings(folder), folder)
    assert read_json(folder / "benchmark-captions" / "stage.json")["outputs"] == {}
    with open(folder / "terraloom.toml", "a", encoding="utf-8") as file:
        file.write(
            '\n[caption_benchmark]\narms = ["real", "real+both"]\nseeds = 2\ndraws = 200\n'
            "[caption_benchmark.training]\nimages = 16\nbatch_size = 4\nimage_size = 16\n"
            "checks = 1\n[caption_benchmark.network]\nwidth = 16\nheads = 2\n"
        )
    pipeline = Pipeline(load_settings(folder), folder)
    pipeline.run()
    results = read_json(folder / "benchmark-captions" / "results.json")
    assert results["design"]["arms"] == ["real", "real+both"]
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert '<section id="caption-benchmark">' in page
    Table.open(folder / "benchmark-captions" / "cells" / "real-0" / "claims").verify()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"arms": ["rael"]}, "there is no arm 'rael'; there are: real, real-strong"),
        ({"arms": ["synthetic"]}, "needs a control"),
        ({"arms": ["real", "real"]}, "names one twice"),
        ({"network": {"width": 30}}, "is no multiple of network.heads = 4"),
        ({"training": {"image_size": 60}}, "is no multiple of network.patch = 8"),
        ({"training": {"imges": 60}}, "did you mean 'images'?"),
    ],
)
def test_wrong_settings_are_told(raw, message):
    with pytest.raises(SettingsError) as caught:
        settings_from({"caption_benchmark": raw})
    assert message in str(caught.value)
