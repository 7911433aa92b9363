"""Shared by the tests of generators: a diffusion model that no download brings."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_diffusion(request: pytest.FixtureRequest):
    """The module that writes tiny diffusion models."""
    place = Path(__file__).with_name("tiny_diffusion.py")
    spec = importlib.util.spec_from_file_location("tiny_diffusion", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_diffusion_model(tiny_diffusion, tmp_path_factory: pytest.TempPathFactory):
    """Folder of a tiny model without a text encoder; None where diffusers is not installed."""
    if importlib.util.find_spec("diffusers") is None:
        return None
    return tiny_diffusion.write_model(tmp_path_factory.mktemp("diffusion") / "tiny")
