"""Shared by all tests: the shared real data, where it lies, and small fixtures."""

import os
from pathlib import Path

import pytest

# Before torch is imported anywhere: waiting threads sleep instead of spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real sample data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TERRALOOM_SHARED_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real sample data here (set TERRALOOM_SHARED_DATA to its folder)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return _REPOSITORY


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project run to its end; read it, or copy it before you change it."""
    from terraloom.pipeline import Pipeline
    from terraloom.settings import load_settings
    from terraloom.testing import tiny_project

    folder = tmp_path_factory.mktemp("finished") / "project"
    folder.mkdir()
    (folder / "terraloom.toml").write_text(tiny_project(), encoding="utf-8")
    Pipeline(load_settings(folder), folder).run()
    return folder
