"""What every source keeps to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraloom import families
from terraloom.classes import preset
from terraloom.raster.grid import Window
from terraloom.samples import SourceFile
from terraloom.sources import world
from terraloom.sources._face import Scene, Source

TABLE = preset("worldcover7")
SMALL = world.Settings(height=64, width=72)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input for each source that reads some: tiles, and pairs cut out of them."""
    folder = tmp_path_factory.mktemp("inputs")
    world.write_world(folder / "tiles", SMALL, 1)
    (scene,) = (
        families.member("sources", "tiles")
        .build(families.member("sources", "tiles").Settings(folder=folder / "tiles"), TABLE, 0)
        .scenes(folder)
    )
    for name, window in (("a", Window(0, 0, 40, 50)), ("b", Window(20, 10, 44, 33))):
        pixels = scene.read(window)
        for kind, data in (("images", pixels.image // 12), ("masks", pixels.labels * 10 + 10)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(data.astype(np.uint8)).save(folder / kind / f"{name}.png")
    return folder


def build(name: str, inputs: Path, seed: int = 3) -> Source:
    options = {
        "folder": {"folder": inputs},
        "tiles": {"folder": inputs / "tiles"},
        "world": SMALL.model_dump(exclude={"seed"}),
    }
    if name not in options:
        pytest.skip(f"source {name} comes from another package; its inputs are not known here")
    module = families.member("sources", name)
    source: Source = module.build(module.Settings(**options[name]), TABLE, seed)
    return source


@pytest.fixture(params=families.members("sources"))
def source(request: pytest.FixtureRequest, inputs: Path) -> Source:
    return build(request.param, inputs)


@pytest.fixture
def scenes(source: Source, tmp_path: Path) -> list[Scene]:
    source.acquire(tmp_path)
    return source.scenes(tmp_path)


def test_scenes_have_names_of_their_own_and_the_extents_told_before(
    source: Source, tmp_path: Path
) -> None:
    before = source.extents()
    source.acquire(tmp_path)
    scenes = source.scenes(tmp_path)
    assert [(scene.height, scene.width) for scene in scenes] == before
    assert len({scene.name for scene in scenes}) == len(scenes) > 0


def test_pixels_have_the_shape_type_and_labels_promised(scenes: list[Scene]) -> None:
    for scene in scenes:
        pixels = scene.read(Window(3, 5, 17, 23))
        assert pixels.image.shape == (17, 23, len(scene.bands))
        assert scene.bands[:3] == ("red", "green", "blue")
        assert pixels.labels.shape == (17, 23)
        assert pixels.labels.dtype == np.uint8
        assert set(np.unique(pixels.labels)) <= {*range(len(TABLE)), 255}


def test_a_window_is_the_same_part_of_the_whole(scenes: list[Scene]) -> None:
    for scene in scenes:
        whole = scene.read(Window(0, 0, scene.height, scene.width))
        part = scene.read(Window(9, 4, 21, 26))
        assert (part.image == whole.image[9:30, 4:30]).all()
        assert (part.labels == whole.labels[9:30, 4:30]).all()


def test_every_file_read_is_an_input_with_its_checksum(
    source: Source, scenes: list[Scene], tmp_path: Path
) -> None:
    inputs = source.inputs(tmp_path)
    assert source.given().items() <= inputs.items()
    for scene in scenes:
        files = scene.read(Window(0, 0, scene.height, scene.width)).files
        assert files
        for file in files:
            assert isinstance(file, SourceFile)
            assert inputs[file.uri] == file.sha256
            assert len(file.sha256) == 64
            assert not Path(file.uri).is_absolute()


def test_acquiring_again_changes_nothing(source: Source, tmp_path: Path) -> None:
    source.acquire(tmp_path)
    before = source.inputs(tmp_path)
    source.acquire(tmp_path)
    assert source.inputs(tmp_path) == before


def test_places_are_named_where_there_are_no_coordinates(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.grid is not None or scene.place
        if scene.grid is not None:
            assert (scene.grid.height, scene.grid.width) == (scene.height, scene.width)


def test_the_values_drawn_as_black_and_white_differ(source: Source) -> None:
    low, high = source.value_range
    assert low < high
    assert source.unit_scale is None or source.unit_scale > 0


def test_only_the_procedural_world_follows_the_seed(inputs: Path, tmp_path: Path) -> None:
    follows = {}
    for name in ("folder", "tiles", "world"):
        made = []
        for seed in (1, 2):
            member = build(name, inputs, seed)
            folder = tmp_path / name / str(seed)
            member.acquire(folder)
            made.append(member.inputs(folder))
        follows[name] = made[0] != made[1]
    assert follows == {"folder": False, "tiles": False, "world": True}
