"""Label trust from the counts of observations."""

from math import exp
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraloom.raster import geotiff
from terraloom.raster.grid import Window
from terraloom.raster.input_quality import UNRECORDED, trust_of

COUNTS = st.integers(0, 300)
PERCENT = st.integers(0, 100)


def trust(radar: int, optical: int, invalid: int, **options: int) -> int:
    pixel = np.array([radar, optical, invalid], dtype=np.int16).reshape(3, 1, 1)
    return int(trust_of(pixel, **options)[0, 0])


@pytest.mark.parametrize(
    ("observations", "expected"),
    [
        ((0, 0, 0), 0),
        ((60, 40, 100), round(255 * (1 - exp(-3)) / 3)),  # radar alone: 81
        ((30_000, 0, 0), 85),
        ((0, 8, 0), 161),  # 255 · (1 − 1/e) = 161.2
        ((0, 16, 50), 161),  # half of 16 is 8
        ((0, 24, 0), 242),  # 255 · (1 − e⁻³) = 242.3
        ((20, 8, 0), round(255 * (1 - exp(-1) * (1 - (1 - exp(-1)) / 3)))),
        ((-1, 8, 0), 161),  # no radar recorded: no radar
    ],
)
def test_trust_follows_the_formula(observations: tuple[int, int, int], expected: int) -> None:
    assert trust(*observations) == expected


@pytest.mark.parametrize("observations", [(-1, -1, -1), (62, -1, 40), (62, 40, -1)])
def test_what_was_never_recorded_is_neither_believed_nor_disbelieved(
    observations: tuple[int, int, int],
) -> None:
    assert trust(*observations) == UNRECORDED == 128
    assert trust(*observations, unrecorded=255) == 255
    assert trust(*observations, unrecorded=0) == 0


@given(COUNTS, COUNTS, PERCENT)
def test_more_observations_never_lower_trust_and_more_cloud_never_raises_it(
    radar: int, optical: int, invalid: int
) -> None:
    here = trust(radar, optical, invalid)
    assert trust(radar + 1, optical, invalid) >= here
    assert trust(radar, optical + 1, invalid) >= here
    if invalid < 100:
        assert trust(radar, optical, invalid + 1) <= here


@given(COUNTS, PERCENT)
def test_trust_saturates(radar: int, invalid: int) -> None:
    steps = np.diff([trust(radar, optical, invalid) for optical in range(0, 200, 20)])
    # Each further 20 observations add no more than the 20 before, but for rounding.
    assert (np.diff(steps) <= 1).all()


def test_pixels_do_not_touch_one_another() -> None:
    observations = np.array([[[0, -1], [62, 0]], [[8, -1], [45, 0]], [[0, -1], [46, 0]]], np.int16)
    weights = trust_of(observations)
    assert weights.dtype == np.uint8
    assert weights.tolist() == [[161, 128], [trust(62, 45, 46), 0]]
    assert observations[1, 0, 1] == -1  # the input is left alone


def test_wrong_shapes_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bands, not an array of shape"):
        trust_of(np.zeros((2, 4, 4), dtype=np.int16))
    with pytest.raises(ValueError, match="unrecorded = 256 is no weight"):
        trust_of(np.zeros((3, 4, 4), dtype=np.int16), unrecorded=256)


def test_on_a_real_tile_cloudy_forest_is_trusted_less_than_town_and_open_sea_is_neutral(
    shared_data: Path,
) -> None:
    folder = shared_data / "tiles"
    quality = folder / "ESA_WorldCover_10m_2020_v100_N00E006_InputQuality.tif"
    info = geotiff.read_info(quality)
    assert info.grid is not None
    assert (info.bands, info.dtype) == (3, "int16")
    # São Tomé: rows 5080 … 6000, columns 860 … 1790 of the 60 m grid.
    grid = info.grid.part(Window(5080, 860, 920, 930))
    observations = geotiff.read_onto([quality], grid, bands=(1, 2, 3), fill=-1)
    codes = geotiff.read_onto(
        [folder / "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif"], grid, bands=(1,), fill=0
    )[0]
    weights = trust_of(observations.astype(np.int16))
    recorded = observations[0] != -1
    assert set(np.unique(codes[~recorded])) <= {0, 80}  # only sea is unrecorded
    assert (weights[~recorded] == UNRECORDED).all()
    assert weights[recorded].min() == 0  # a few pixels were never seen clear
    town, forest = (np.median(weights[recorded & (codes == code)]) for code in (50, 10))
    assert town > 245
    assert 200 < forest < town
