"""The demo: a settings file for a small world, and the ordinary pipeline on it."""

from importlib.resources import files
from pathlib import Path

from terraloom.files import make_folder, write_text
from terraloom.settings import CONFIG_NAME


def write_demo_settings(folder: Path, seed: int) -> Path:
    """Write the demo's terraloom.toml into `folder`; an equal file is left as it is."""
    text = (files("terraloom") / "demo.toml").read_text(encoding="utf-8")
    text = text.replace("seed = 0", f"seed = {seed}", 1)
    make_folder(folder)
    path = folder / CONFIG_NAME
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path
