"""Sections under designs that the fixture does not have."""

import shutil
from pathlib import Path

import numpy as np

from terraloom.benchmarking import judge
from terraloom.classes import preset
from terraloom.files import append_line, read_json, write_json
from terraloom.report.published_tables import classes_table, models_table
from terraloom.report.reading import ProjectFiles
from terraloom.report.sections import embedding_section, published_section
from terraloom.report.verdict_section import verdict_section
from terraloom.report.views import FigureView, ListView, TableView, TextView, VerdictView
from terraloom.report.wording import percent, points
from terraloom.settings import BenchmarkSettings


def _cells(
    arms: tuple[str, ...], architectures: tuple[str, ...], seeds: int
) -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    return [
        {
            "arm": arm, "architecture": architecture, "seed": seed, "rows": 5, "images": 100,
            "best_images": 100, "val_f1": 0.5,
            "confusion": {
                f"p{place}": (random.integers(1, 30, (7, 7)) + 60 * np.eye(7, dtype=int)).tolist()
                for place in range(4)
            },
        }
        for architecture in architectures
        for arm in arms
        for seed in range(seeds)
    ]  # fmt: skip


def _project(
    folder: Path, arms: tuple[str, ...], architectures: tuple[str, ...], seeds: int
) -> ProjectFiles:
    settings = BenchmarkSettings(arms=arms, architectures=architectures, seeds=seeds, draws=200)
    cells = _cells(arms, architectures, seeds)
    results = judge(cells, preset("worldcover7").names, settings, 3)
    results |= {"recipe_sha256": "0", "missing_arms": ["real+both"], "rows": dict.fromkeys(arms, 5)}
    write_json(folder / "benchmark" / "results.json", results)
    return ProjectFiles(folder)


def _cautions(files: ProjectFiles) -> str:
    blocks = verdict_section(files).blocks
    return " ".join(
        item for b in blocks if isinstance(b, ListView) and b.tone == "warning" for item in b.items
    )


def test_several_architectures_are_averaged_first_and_then_told_apart(tmp_path: Path) -> None:
    files = _project(tmp_path, ("real", "synthetic"), ("unet", "fpn"), 2)
    section = verdict_section(files)
    titles = [b.title for b in section.blocks if isinstance(b, TableView)]
    assert titles[0] == "Arms on the real test rows (mean of all architectures), in percent"
    assert [part.title for part in section.subsections[-2:]] == [
        "Architecture unet",
        "Architecture fpn",
    ]
    first = next(b for b in section.blocks if isinstance(b, VerdictView))
    assert {scope for scope, _, _ in first.arms} <= {"all", "unet", "fpn"}


MOST = [f"fold-{fold}-seed-{seed}" for fold in range(4) for seed in range(3)]


def test_chains_in_which_an_arm_is_real_rows_alone_are_told(tmp_path: Path) -> None:
    files = _project(tmp_path, ("real", "real+both"), ("unet",), 2)
    path = tmp_path / "benchmark" / "results.json"
    results = read_json(path)
    results["real_alone"] = {"real+both": ["fold-0-seed-1", "fold-2-seed-0"], "unfiltered": MOST}
    results["design"] |= {"folds": 5, "generator_seeds": 3}
    write_json(path, results)
    texts = [b.text for b in verdict_section(files).blocks if isinstance(b, TextView)]
    told = "real+both in 2 of 15 chains (fold-0-seed-1, fold-2-seed-0)"
    assert any(told in text for text in texts)
    assert any("What is said of unfiltered rests on 3 chains" in text for text in texts)


def test_controls_alone_give_no_verdict_and_no_forest_plot(tmp_path: Path) -> None:
    section = verdict_section(_project(tmp_path, ("real", "real-strong"), ("unet",), 2))
    verdict = next(b for b in section.blocks if isinstance(b, VerdictView))
    assert verdict.sentence.startswith("No arm with synthetic rows")
    assert verdict.word == ""
    assert not [b for b in section.blocks if isinstance(b, FigureView)]


def test_weak_designs_are_called_weak(tmp_path: Path) -> None:
    files = _project(tmp_path, ("real", "synthetic"), ("unet",), 2)
    told = _cautions(files)
    assert "Fewer than 3 seeds" in told
    assert "4 test places only" in told
    assert "In 4 of 4 runs" in told
    assert "ledger of looks at test is empty" in told


def test_a_second_recipe_and_a_repeated_look_are_told(tmp_path: Path) -> None:
    files = _project(tmp_path, ("real", "synthetic"), ("unet",), 2)
    for recipe, cell in (("a", "1"), ("a", "1"), ("b", "1")):
        append_line(tmp_path / "test-looks.jsonl", {"recipe_sha256": recipe, "cell": cell})
    told = _cautions(files)
    assert "under 2 locked recipes" in told
    assert "looked at test more than once" in told


def test_touching_roles_and_idle_curation_are_told(tmp_path: Path) -> None:
    files = _project(tmp_path, ("real", "synthetic"), ("unet",), 2)
    write_json(tmp_path / "build" / "leaks.json", {"nearest_m": {"train-test": 0.0}})
    funnel = {"unconditional": {"made": 8, "rejected": {}, "kept": 8}}
    write_json(tmp_path / "curate" / "funnel.json", funnel)
    origins = {"real": {"distance": 0.0}, "unconditional": {"distance": 0.7}}
    summary = {
        "composition": {"origins": origins, "ceiling": 0.5},
        "embedding": {"pairwise": {"real, unconditional": 0.6, "real, conditional": 0.1}},
    }
    write_json(tmp_path / "score" / "summary.json", summary)
    told = _cautions(files)
    assert "lie next to each other (smallest gap 0 m)" in told
    assert "rejected none of the 8 unconditional samples" in told
    assert "further from the real class shares than shuffled classes" in told
    assert "lie apart" in told
    assert "conditional." not in told.replace("unconditional.", "")


def test_the_map_says_how_many_images_it_leaves_out(project: Path, tmp_path: Path) -> None:
    (tmp_path / "score").mkdir()
    shutil.copy(project / "score" / "embedding.parquet", tmp_path / "score")
    summary = read_json(project / "score" / "summary.json")
    for totals, told in (
        ({"real": 90, "conditional": 30}, "Drawn evenly: 30 of 90 real."),
        ({"real": 30}, "Real: train rows. Distances"),
    ):
        summary["embedding"]["totals"] = totals
        write_json(tmp_path / "score" / "summary.json", summary)
        figure = embedding_section(ProjectFiles(tmp_path)).blocks[0]
        assert isinstance(figure, FigureView)
        assert told in figure.notes[0]


def test_published_figures_stand_alone_where_nothing_was_benchmarked(tmp_path: Path) -> None:
    blocks = published_section(ProjectFiles(tmp_path)).blocks
    table = next(b for b in blocks if isinstance(b, TableView))
    assert [cell.text for cell in table.rows[0]][1:5] == ["76.49", "64.51", "76.60", "76.62"]
    assert {cell.text for row in table.rows for cell in row[5:]} == {"–"}


def test_published_models_and_classes_stand_beside_the_same_ones_of_this_run(
    tmp_path: Path,
) -> None:
    files = _project(tmp_path, ("real", "real+both"), ("unet", "fpn"), 2)
    results = files.results
    assert results is not None
    rows = {row[0].text: row for row in models_table(results).rows}
    assert [cell.text for cell in rows["unet"]][1:4] == ["76.37", "74.63", "77.40"]
    own = next(r for r in results["table"] if r["architecture"] == "fpn" and r["arm"] == "real")
    assert rows["fpn"][4].text == percent(own["f1"]["mean"])
    assert rows["fpn"][5].text == rows["pan"][4].text == "–"
    table = classes_table(results, "unet")
    assert table is not None
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("shrub", "+1.97"),
        ("barren", "+1.73"),
    ]
    known = {
        row["class"]: row["mean"] for row in results["per_class"] if row["architecture"] == "unet"
    }
    assert table.rows[0][3].text == points(known["shrub"])
    assert classes_table({"per_class": []}, "unet") is None
