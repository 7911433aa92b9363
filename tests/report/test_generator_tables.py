"""Running figures of generators: each beside what real images reach, alarms in words."""

from terraloom.report.generator_tables import running_figures

LAST = {
    "images": 3000, "agreement": 0.676, "agreement_real": 0.547, "miou": 0.411, "miou_real": 0.3,
    "diversity": 0.037, "diversity_real": 0.123, "tones": 0.05, "tones_real": 0.11,
    "kernel": 0.069, "kernel_floor": 0.019,
    "frechet": 9.0, "frechet_floor": 8.0, "variety": 11.84, "variety_real": 8.42,
    "nearest": 1.587, "copies": 0.0, "alarms": [],
}  # fmt: skip


def record(*, student=None, **changes):
    return {"history": [{"images": 1000}, LAST | changes], "distilled": student}


def cells(block):
    return [[f"{cell.text} {cell.detail}".strip() for cell in row] for row in block.rows]


def test_each_figure_stands_beside_that_of_real_images():
    [table] = running_figures({"spade": record()})
    assert cells(table) == [
        ["spade", "3,000", "67.6 real 54.7", "41.1 real 30.0", "3.7 real 12.3", "5.0 real 11.0",
         "0.069 real 0.019", "11.8 real 8.4", "1.59", "0.0"],
    ]  # fmt: skip


def test_what_a_generator_does_not_make_is_a_dash():
    free = {k: v for k, v in LAST.items() if k not in ("agreement", "miou", "diversity")}
    [table] = running_figures({"stylegan": {"history": [free]}})
    assert cells(table)[0][2:5] == ["– real 54.7", "– real 30.0", "– real 12.3"]


def test_a_student_has_a_row_of_its_own_and_alarms_are_told():
    lesson = {"history": [LAST | {"alarms": ["mode collapse: all alike"]}]}
    table, alarm = running_figures({"flow": record(student=lesson)})
    assert [row[0] for row in cells(table)] == ["flow", "flow, few steps"]
    assert alarm.text == "flow, few steps: mode collapse: all alike."
    assert alarm.tone == "warning"


def test_a_kernel_distance_without_a_scale_is_told():
    _, told = running_figures({"flow": record(kernel_unit=1.0)})
    assert "no scale" in told.text
    assert len(running_figures({"flow": record(kernel_unit=0.4)})) == 1


def test_records_from_before_a_figure_have_a_dash_there():
    older = {k: v for k, v in LAST.items() if not k.startswith("tones")}
    [table] = running_figures({"flow": {"history": [older]}})
    assert cells(table)[0][5] == "– real –"


def test_records_without_these_figures_have_no_table():
    layout = {"history": [{"images": 5, "ratio_error": 0.0}]}
    old = {"history": [{"images": 5, "agreement": 0.5, "diversity": 0.1}]}
    assert running_figures({"layout": layout, "old": old, "lost": None}) == []
