"""A build on a local server, killed with kill -9 at seeded moments, ends with the same bytes."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sources.killed_build import digests, finish, kill_when, write_project
from tests.sources.tile_server import Mood, TileServer, serving
from tests.sources.worldcover_mirror import Mirror

pytestmark = pytest.mark.slow

TILES = ("N39E033", "N39E034", "N42E033", "S01W051", "S01E010", "S18E179", "S18W180")
"""N39E034 is not on the server; the last two touch across the antimeridian."""
STAGES = {
    "while tiles are fetched": ("inputs/*/tiles/*.tif", 20),
    "while a tile is written": ("inputs/*/tiles/.*.part", 1),
    "while patches are cut": ("build/cut/part-*.parquet", 3),
    "while roles are given": ("build/samples/part-*.parquet", 3),
    "while candidates are noted": ("build/candidates/part-*.parquet", 3),
}
"""Files that show how far a build is, and the number of them that a moment is drawn from."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TileServer]:
    folder = tmp_path_factory.mktemp("bucket")
    mirror = Mirror(folder)
    for lat, lon in ((39, 33), (42, 33), (-1, -51), (-1, 10)):
        mirror.place(lat, lon, side=504)
    mirror.place(-18, 179, side=504, column=12_000 - 504)
    mirror.place(-18, -180, side=504)
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="module")
def unbroken(server: TileServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "project"
    finish(write_project(folder, server.address(), TILES))
    found = digests(folder)
    assert sum(name.endswith(".tif") for name in found) == 18
    assert sum(name.startswith("build/samples/part-") for name in found) >= 2
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_build_killed_once_ends_with_the_same_bytes(
    stage: str, server: TileServer, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "project", server.address(), TILES)
    pattern, most = STAGES[stage]
    wanted = 1 + random.Random(stage).randrange(most)
    assert kill_when(folder, lambda: len(list(folder.glob(pattern))) >= wanted)
    assert not (folder / "build" / "stage.json").exists()
    finish(folder)
    assert digests(folder) == unbroken


def test_a_build_killed_again_and_again_while_the_server_fails_ends_with_the_same_bytes(
    server: TileServer, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "project", server.address(), TILES)
    drawn = random.Random(0)
    # Slow and bad enough that no part of fetching is over at once.
    server.misbehave("S2RGBNIR.tif", *(Mood("cut", 1), Mood("status", 1, 503)) * 4)
    kills = 0
    for pattern, most in STAGES.values():
        wanted = 1 + drawn.randrange(most)
        kills += kill_when(
            folder,
            lambda pattern=pattern, wanted=wanted: len(list(folder.glob(pattern))) >= wanted,
            wait_s=drawn.uniform(0, 0.1),
        )
    assert kills >= 3
    finish(folder)
    server.behave()
    assert digests(folder) == unbroken
