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
