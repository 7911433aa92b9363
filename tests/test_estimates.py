"""What a dry run tells: rows, work and time, from settings alone; nothing is written."""

import pytest

from terraloom.estimates import PATCH_BYTES_PER_PIXEL, estimate_build, estimate_run
from terraloom.files import append_line
from terraloom.pipeline import Pipeline
from terraloom.segmenters import unet
from terraloom.settings import load_settings
from terraloom.settings.caption_benchmark import TRAINING_RATE
from terraloom.sources import world
from terraloom.sources._face import DownloadPlan
from terraloom.stages import STAGES, stage_named
from terraloom.tables import Table
from terraloom.testing import tiny_project


@pytest.fixture
def project(tmp_path):
    (tmp_path / "terraloom.toml").write_text(tiny_project())

    def pipeline():
        return Pipeline(load_settings(tmp_path), tmp_path)

    return pipeline


def lines(pipeline, until=None):
    return {line.stage: line for line in estimate_run(pipeline, until)}


def test_every_stage_is_told_in_order_and_nothing_is_written(project, tmp_path):
    found = estimate_run(project())
    assert [line.stage for line in found] == [stage.name for stage in STAGES]
    assert {line.state for line in found} == {"would run"}
    # The captioning benchmark is off, so it takes no time and says so.
    assert [line.stage for line in found if not line.seconds] == ["benchmark-captions"]
    assert [path.name for path in tmp_path.iterdir()] == ["terraloom.toml"]


def test_rows_are_bounded_from_the_size_of_the_world(project):
    found = lines(project())
    # 256² in patches of 64 are 16, of which 0.8 · 0.85 train: 11, once masked by each of two
    # generators and once free by one.
    assert found["build"].rows == 16
    assert found["segment"].rows == 11
    assert found["generate"].rows == 33
    assert found["benchmark"].rows == 16 + 33
    assert found["benchmark"].work == "8 cells of 16 crops of 64 px"


def test_samples_on_made_masks_and_pairs_are_counted(project, tmp_path):
    text = tiny_project().replace("[generators.flow]", "[generators.layout]\n\n[generators.flow]")
    (tmp_path / "terraloom.toml").write_text(text)
    assert lines(project())["generate"].rows == 33 + 2 * 11
    text = text.replace("[generators.flow]", "[generators.flow]\njoint = true")
    (tmp_path / "terraloom.toml").write_text(text)
    assert lines(project())["generate"].rows == 33 + 3 * 11


def test_a_captioning_benchmark_is_estimated_where_it_is_on(project, tmp_path):
    off = lines(project())["benchmark-captions"]
    assert (off.seconds, off.work) == (0, "off: [caption_benchmark] names no arms")
    text = tiny_project() + (
        '\n[caption_benchmark]\narms = ["real", "real+both"]\nseeds = 2\n'
        "[caption_benchmark.training]\nimages = 1500\n"
    )
    (tmp_path / "terraloom.toml").write_text(text)
    on = lines(project())["benchmark-captions"]
    assert on.work == "4 captioners, 1,500 images of 64 px each"
    assert on.seconds == pytest.approx(4 * 1500 / TRAINING_RATE + 10)
    (tmp_path / "terraloom.toml").write_text(text.replace("seeds = 2\n[", 'model = "mine"\n['))
    assert lines(project())["benchmark-captions"].seconds is None


def test_the_time_of_a_training_is_its_images_over_the_members_rate(project):
    assert lines(project())["segment"].seconds == pytest.approx(32 / unet.TRAINING_RATE)


def test_every_labeller_fold_and_look_is_counted(project, tmp_path):
    alone = lines(project())
    text = tiny_project().replace(
        "[segment.training]",
        "[label]\nflips = true\n\n[segment]\nmembers = 2\nnoise_folds = 3\n\n[segment.training]",
    )
    (tmp_path / "terraloom.toml").write_text(text)
    many = lines(project())
    assert many["segment"].seconds == pytest.approx(5 * alone["segment"].seconds)
    assert many["segment"].work == "5 trainings of 32 crops of 64 px"
    assert many["label"].seconds == pytest.approx(8 * alone["label"].seconds)
    assert many["label"].work == "33 samples, 8 looks at each"


def test_the_estimate_ends_with_the_stage_asked_for(project):
    assert list(lines(project(), "generate")) == ["build", "segment", "generate"]


def test_an_earlier_run_knows_better(project, tmp_path):
    append_line(tmp_path / "log.jsonl", {"stage": "build", "seconds": 77.0, "resumed": False})
    append_line(tmp_path / "log.jsonl", {"stage": "segment", "seconds": 5.0, "resumed": True})
    found = lines(project())
    assert found["build"].seconds == 77
    assert found["segment"].seconds != 5


def test_a_built_project_counts_its_rows(project, tmp_path):
    project().run(until="build")
    found = lines(project())
    assert found["build"].state == "done"
    assert found["build"].seconds == 0
    # Some of the 16 candidates lie too near to a patch of another role.
    rows = Table.open(tmp_path / "build" / "samples").num_rows
    assert found["build"].rows == rows <= 16
    assert 0 < found["segment"].rows < rows


def test_an_interrupted_stage_goes_on_and_a_failed_one_tells_why(project, tmp_path):
    pipeline = project()
    pipeline.run(until="build")
    pipeline.context.project.stage("segment").begin(*pipeline._key(stage_named("segment")))
    assert lines(project())["segment"].state == "goes on"
    append_line(
        tmp_path / "log.jsonl",
        {"stage": "segment", "seconds": 1.0, "resumed": False, "error": "no memory"},
    )
    found = lines(project())["segment"]
    assert (found.state, found.work) == ("failed", "no memory")


# What building would bring and write


def test_patches_and_their_disk_are_told_until_the_build_is_done(project, tmp_path):
    told = estimate_build(project())
    assert (told.candidates, told.patch_size, told.download) == (16, 64, None)
    assert told.patch_bytes == round(16 * 64**2 * PATCH_BYTES_PER_PIXEL[8])
    assert [path.name for path in tmp_path.iterdir()] == ["terraloom.toml"]
    project().run(until="build")
    assert estimate_build(project()) is None
    table = Table.open(tmp_path / "build" / "samples")
    stored = sum(path.stat().st_size for path in table.paths) / table.num_rows
    assert 0.3 < stored / (told.patch_bytes / 16) < 2


def test_a_patch_of_more_bits_and_bands_takes_more_disk(project, tmp_path):
    sizes = []
    for extra in ("", "depth = 16\n", "depth = 16\nnir = true\n"):
        text = tiny_project().replace("patch_size = 64\n", f"patch_size = 64\n{extra}")
        (tmp_path / "terraloom.toml").write_text(text)
        sizes.append(estimate_build(project()).patch_bytes)
    assert sizes == sorted(set(sizes))


def test_a_source_that_fetches_tells_its_plan(project, monkeypatch):
    plan = DownloadPlan(8, 2, 3_000_000, 4_000_000, estimated=True, seconds=60.0)
    asked = []

    def tell(self, folder):
        asked.append(folder)
        return plan

    monkeypatch.setattr(world.WorldSource, "plan", tell, raising=False)
    pipeline = project()
    told = estimate_build(pipeline)
    assert told.download == plan
    assert told.to_json()["download"]["download_bytes"] == 3_000_000
    assert asked == [pipeline.context.acquired]


def test_how_long_a_model_writes_is_not_guessed(project, tmp_path):
    text = tiny_project() + '\n[caption]\ncaptioner = "openai"\n[captioners.openai]\nmodel = "m"\n'
    (tmp_path / "terraloom.toml").write_text(text)
    assert lines(project())["caption"].seconds is None
    assert lines(project())["score"].seconds is not None


def test_epochs_are_counted_in_real_train_rows_and_no_rate_is_made_up(project, tmp_path):
    text = tiny_project().replace("[benchmark.training]\n", "[benchmark.training]\nepochs = 4\n")
    assert "epochs = 4" in text
    (tmp_path / "terraloom.toml").write_text(text)
    assert lines(project())["benchmark"].work == "8 cells of 44 crops of 64 px"
    (tmp_path / "terraloom.toml").write_text(
        tiny_project() + '\n[segmenters.unet]\nencoder = "resnet18"\nweights = "none"\n'
    )
    found = lines(project())
    # Rates are stated for the encoder of the small preset.
    assert found["segment"].seconds is None
    assert found["benchmark"].seconds is None
    assert found["generate"].seconds
