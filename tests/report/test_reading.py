"""Examples nobody chose, and crops found again."""

import numpy as np

from terraloom.report.reading import ProjectFiles, evenly, find_crop


def test_examples_are_evenly_spaced_over_sorted_names() -> None:
    names = [f"{i:02d}" for i in range(11)]
    assert evenly(names[::-1], 3) == ["00", "05", "10"]
    assert evenly(["b", "a"], 5) == ["a", "b"]
    assert evenly([], 5) == []


def test_a_crop_is_found_where_it_was_cut() -> None:
    mask = np.random.default_rng(0).integers(0, 7, (40, 52)).astype(np.uint8)
    assert find_crop(mask, mask[7:27, 13:33]) == (7, 13)
    assert find_crop(mask, mask) == (0, 0)


def test_a_crop_of_another_mask_is_not_found() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    other = mask[:8, :8].copy()
    other[3, 3] = 1
    assert find_crop(mask, other) is None
    assert find_crop(mask[:4], mask) is None


def test_uniform_masks_take_the_first_place() -> None:
    mask = np.full((20, 20), 3, dtype=np.uint8)
    assert find_crop(mask, mask[:8, :8]) == (0, 0)


def test_an_absent_project_reads_as_nothing(tmp_path) -> None:
    files = ProjectFiles(tmp_path / "none")
    assert files.results is None
    assert files.scores == {}
    assert files.looks == []
    assert files.generators == []
    assert files.rows_of("build/samples", ["a"]) == {}
