import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from terraloom.landscape import Landscape, grow_landscape

OFFICIAL_CODES = {10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100}
TREE, SHRUB, GRASS, CROP, BUILT, BARE, WATER = 10, 20, 30, 40, 50, 60, 80


@pytest.fixture(scope="module")
def scene() -> Landscape:
    return grow_landscape(-700, 300, 384, 400, seed=3)


@pytest.mark.parametrize("trial", range(6))
def test_a_window_equals_the_same_crop_of_a_larger_one(trial):
    rng = np.random.default_rng(trial)
    row, column = (int(start) for start in rng.integers(-(10**7), 10**7, 2))
    seed = int(rng.integers(-5, 10**12))
    whole = grow_landscape(row, column, 150, 170, seed=seed, season=0.3)
    for _ in range(3):
        top, left = (int(start) for start in rng.integers(0, 100, 2))
        height, width = (int(side) for side in rng.integers(1, 50, 2))
        part = grow_landscape(row + top, column + left, height, width, seed=seed, season=0.3)
        rows, columns = slice(top, top + height), slice(left, left + width)
        np.testing.assert_array_equal(part.codes, whole.codes[rows, columns])
        np.testing.assert_array_equal(part.reflectance, whole.reflectance[:, rows, columns])


def test_tiles_across_the_origin_reassemble_to_the_whole():
    whole = grow_landscape(-60, -70, 130, 140, seed=8)
    rows = [
        np.concatenate(
            [
                grow_landscape(top, left, 65, 70, seed=8).reflectance
                for left in (-70, 0)
            ],
            axis=2,
        )
        for top in (-60, 5)
    ]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), whole.reflectance)


def test_far_lakes_and_roads_do_not_depend_on_the_window():
    # A large window sees sites that a single pixel's margin must also find.
    whole = grow_landscape(100_000, -50_000, 500, 500, seed=1)
    for top in range(0, 500, 71):
        left = (top * 7) % 480
        part = grow_landscape(100_000 + top, -50_000 + left, 20, 20, seed=1)
        inside = whole.codes[top : top + 20, left : left + 20]
        np.testing.assert_array_equal(part.codes[: inside.shape[0]], inside)


def test_seeds_and_places_give_different_worlds():
    first = grow_landscape(0, 0, 96, 96, seed=1)
    for other in (grow_landscape(0, 0, 96, 96, seed=2), grow_landscape(0, 96, 96, 96, seed=1)):
        assert (first.codes != other.codes).mean() > 0.3
        assert (first.reflectance != other.reflectance).mean() > 0.95


def test_arrays_have_the_promised_shapes_types_and_ranges(scene):
    assert scene.codes.shape == (384, 400)
    assert scene.codes.dtype == np.uint8
    assert scene.reflectance.shape == (4, 384, 400)
    assert scene.reflectance.dtype == np.float32
    assert scene.codes.flags.c_contiguous
    assert scene.reflectance.flags.c_contiguous
    assert scene.reflectance.min() >= 0.0
    assert scene.reflectance.max() <= 1.0
    # Sunlit land is neither black nor white: the median is that of vegetation.
    assert 0.02 < np.median(scene.reflectance[:3]) < 0.12


def test_every_code_is_an_official_one(scene):
    assert set(np.unique(scene.codes).tolist()) <= OFFICIAL_CODES


def test_a_few_windows_hold_all_classes_in_plausible_shares():
    # Features keep their size in metres, so coarse pixels show more land in the same time.
    codes = np.stack(
        [
            grow_landscape(place, -2 * place, 200, 200, seed=place, pixel_size_m=40.0).codes
            for place in (-3000, -200, 0, 700, 5000, 80000)
        ]
    )
    bounds = {
        TREE: (0.15, 0.35), SHRUB: (0.04, 0.12), GRASS: (0.12, 0.30), CROP: (0.20, 0.40),
        BUILT: (0.03, 0.10), BARE: (0.02, 0.08), WATER: (0.04, 0.15),
    }  # fmt: skip
    for code, (low, high) in bounds.items():
        assert low <= (codes == code).mean() <= high, code


def test_small_patches_hold_several_classes():
    codes = grow_landscape(0, 0, 512, 512, seed=4).codes
    patches = codes.reshape(8, 64, 8, 64).swapaxes(1, 2).reshape(64, -1)
    held = [
        sum((patch == code).mean() > 0.02 for code in np.unique(patch)) for patch in patches
    ]  # fmt: skip
    assert 2 <= np.median(held) <= 5


def test_trees_are_greener_than_bare_ground_and_water_is_darkest_in_near_infrared(scene):
    red, _, _, infrared = scene.reflectance
    ndvi = (infrared - red) / (infrared + red)
    middle = {code: np.median(ndvi[scene.codes == code]) for code in (TREE, SHRUB, BARE)}
    assert middle[TREE] > 0.7 > middle[SHRUB] > 0.25 > middle[BARE]
    infrared_by_code = {
        int(code): np.median(infrared[scene.codes == code]) for code in np.unique(scene.codes)
    }
    assert min(infrared_by_code, key=infrared_by_code.get) == WATER


def test_open_water_is_black_in_near_infrared():
    world = grow_landscape(0, 0, 256, 256, seed=1)
    open_water = binary_erosion(world.codes == WATER, iterations=2)
    assert open_water.sum() > 500
    assert world.reflectance[3][open_water].max() < 0.08
    assert np.median(world.reflectance[3][open_water]) < 0.04


def test_the_season_changes_crops_but_no_code(scene):
    spring = grow_landscape(-700, 300, 384, 400, seed=3, season=0.42)
    np.testing.assert_array_equal(spring.codes, scene.codes)
    change = np.abs(spring.reflectance - scene.reflectance).mean(axis=0)
    assert change[scene.codes == CROP].mean() > 0.03
    assert change[scene.codes == WATER].mean() < 0.002
    assert change[scene.codes == CROP].mean() > 3 * change[scene.codes == BARE].mean()


def test_classes_overlap_in_colour(scene):
    # If a pixel's colour alone told its class there would be nothing to learn.
    pixels = scene.reflectance.reshape(4, -1)
    codes = scene.codes.ravel()
    present = [code for code in np.unique(codes) if (codes == code).sum() > 200]
    centres = np.stack([np.median(pixels[:, codes == code], axis=1) for code in present])
    nearest = np.abs(pixels.T[:, None] - centres[None]).sum(axis=2).argmin(axis=1)
    right = np.array(present)[nearest] == codes
    assert 0.3 < right.mean() < 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "0 x 4 pixels is empty"),
        ({"season": 1.2}, r"season 1\.2"),
        ({"pixel_size_m": 0.0}, r"pixel size 0\.0"),
    ],
)
def test_impossible_requests_are_refused_with_their_values(change, message):
    request = {"row": 0, "column": 0, "height": 4, "width": 4, "seed": 1} | change
    with pytest.raises(ValueError, match=message):
        grow_landscape(**request)
