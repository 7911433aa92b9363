"""Stage folders: what is done, what goes on, what is made anew."""

from pathlib import Path

import pytest

from terraloom.errors import InputError, OutputError
from terraloom.runs import RECORD, Project, library_versions, stage_key

SETTINGS = {"cut": {"patch_size": 64, "low": None}, "seed": 1}
INPUTS = {"a.tif": "1" * 64}
KEY = stage_key("build", SETTINGS, INPUTS)


def test_a_second_process_is_kept_out_and_let_in_after(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    with (
        project.locked(),
        pytest.raises(InputError, match=r"another terraloom process works on .*project"),
        Project(tmp_path / "project").locked(),
    ):
        pass
    with project.locked():
        pass


def test_a_project_where_a_file_lies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot create the folder"),
        Project(tmp_path / "file").locked(),
    ):
        pass


def test_the_key_changes_with_name_settings_and_inputs() -> None:
    keys = {
        KEY,
        stage_key("segment", SETTINGS, INPUTS),
        stage_key("build", SETTINGS | {"seed": 2}, INPUTS),
        stage_key("build", SETTINGS, {"a.tif": "2" * 64}),
        stage_key("build", SETTINGS, {"b.tif": "1" * 64}),
    }
    assert len(keys) == 5
    assert stage_key("build", dict(reversed(SETTINGS.items())), INPUTS) == KEY


def test_a_stage_is_done_only_when_its_record_is_written(tmp_path: Path) -> None:
    stage = Project(tmp_path).stage("build")
    assert stage.record() is None
    assert stage.begin(KEY, SETTINGS, INPUTS) == []
    assert (stage.is_started(KEY), stage.is_done(KEY)) == (True, False)
    stage.finish(KEY, SETTINGS, INPUTS, {"samples": "3" * 64})
    assert stage.is_done(KEY)
    assert not stage.is_done(KEY[::-1])
    record = stage.record()
    assert record is not None
    assert record["stage"] == "build"
    assert (record["settings"], record["inputs"]) == (SETTINGS, INPUTS)
    assert record["outputs"] == {"samples": "3" * 64}
    assert record["versions"] == library_versions()


def test_an_interrupted_stage_keeps_its_work_and_loses_its_record(tmp_path: Path) -> None:
    stage = Project(tmp_path).stage("build")
    stage.begin(KEY, SETTINGS, INPUTS)
    (stage.path / "part-00000.parquet").write_text("work")
    stage.finish(KEY, SETTINGS, INPUTS, {})
    assert stage.begin(KEY, SETTINGS, INPUTS) == []
    assert (stage.path / "part-00000.parquet").read_text() == "work"
    assert not (stage.path / RECORD).exists()


def test_other_settings_start_afresh_and_tell_what_changed(tmp_path: Path) -> None:
    stage = Project(tmp_path).stage("build")
    stage.begin(KEY, SETTINGS, INPUTS)
    (stage.path / "part-00000.parquet").write_text("work")
    settings = {"cut": {"patch_size": 32, "low": None}, "seed": 1}
    inputs = {"a.tif": "2" * 64}
    changes = stage.begin(stage_key("build", settings, inputs), settings, inputs)
    assert changes == ["cut.patch_size: 64 → 32", "input a.tif"]
    assert not (stage.path / "part-00000.parquet").exists()
    assert stage.is_started(stage_key("build", settings, inputs))


def test_a_folder_without_any_record_is_no_work_of_ours_to_keep(tmp_path: Path) -> None:
    stage = Project(tmp_path).stage("build")
    stage.path.mkdir()
    (stage.path / "part-00000.parquet").write_text("of unknown settings")
    assert stage.begin(KEY, SETTINGS, INPUTS) == []
    assert not (stage.path / "part-00000.parquet").exists()


def test_a_discarded_stage_leaves_nothing(tmp_path: Path) -> None:
    stage = Project(tmp_path).stage("build")
    stage.begin(KEY, SETTINGS, INPUTS)
    stage.discard()
    assert list(tmp_path.iterdir()) == []


def test_versions_name_what_decides_results() -> None:
    versions = library_versions()
    assert {"python", "terraloom", "torch", "numpy", "pyarrow", "rasterio"} <= versions.keys()
    assert versions["python"].startswith("3.")
    assert "not installed" not in versions.values()
