"""A local STAC API with its files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sources.stac.stac_world import World
from tests.sources.stac_server import Archive, serving


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    (tmp_path / "files").mkdir()
    made = Archive(tmp_path / "files")
    with serving(made):
        yield made


@pytest.fixture
def world(archive: Archive) -> World:
    return World(archive)
