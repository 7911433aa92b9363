"""A model's captions through the checks: three rates beside one another, sources named."""

from terraloom.caption_inputs import TELLING
from terraloom.files import write_json
from terraloom.repairing import summarise_repairs
from terraloom.report.reading import ProjectFiles
from terraloom.report.repair_table import repair_table
from terraloom.report.sections import captions_section

FOUND = {
    "asked": 1210, "failed": 10, "filled": 4, "checked": 1200, "contradicted_before": 300,
    "contradicted_after_repair": 60, "repaired": 240, "replaced": 48, "kept_contradicted": 12,
    "sent_back": 400, "failed_rewrites": 3, "contradicted_before_rate": 0.25,
    "contradicted_after_repair_rate": 0.05, "replaced_rate": 0.04,
}  # fmt: skip


def test_the_rates_are_columns_of_their_own():
    view = repair_table({"real": FOUND, "synthetic": summarise_repairs([])})
    cells = [[(cell.text, cell.detail) for cell in row] for row in view.rows]
    assert cells[0] == [
        ("real samples", ""), ("1,210", ""), ("10", "4 filled"), ("25.00", "300"), ("5.00", "60"),
        ("4.00", "48"), ("12", ""),
    ]  # fmt: skip
    assert cells[1][3][0] == "–"
    assert view.sources == ("caption/repairs.json",)


def test_the_keys_are_those_that_the_stage_writes():
    assert FOUND.keys() == summarise_repairs([]).keys()


def test_it_stands_in_the_section_where_a_model_wrote(tmp_path, project):
    import shutil

    from terraloom.classes import preset

    folder = tmp_path / "p"
    shutil.copytree(project, folder)
    classes = preset("worldcover7")
    title = "A model's captions through the checks"

    def titles():
        blocks = captions_section(ProjectFiles(folder), classes).blocks
        return [getattr(block, "title", "") for block in blocks]

    assert title not in titles()
    write_json(folder / "caption" / "repairs.json", {"real": FOUND, "synthetic": FOUND})
    assert title in titles()


def test_feedback_makes_a_caption_a_target_only():
    assert {"shares", "layout", "feedback"} == TELLING
