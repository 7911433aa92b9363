"""A whole real tile of 36,000 × 36,000 pixels under nine procedural composites, cut whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.real.worldcover_tile import WHOLE, count_patches, tile_file, write_composites

from terraloom.classes import preset
from terraloom.tables import Table

pytestmark = pytest.mark.slow
SIZE = 256
TABLE = preset("worldcover11")
MOST_MB = 2_500
"""Of one process; the tile has 1.3 gigapixels in five layers, 13 GB as arrays."""
SETTINGS = """\
[project]
workers = 1

[sources.tiles]
folder = "{folder}"

[classes]
preset = "worldcover11"

[cut]
patch_size = 256
check_shift = false

[split]
by = "block"
block_size_m = 20000
"""
MEASURED = """\
import json, resource, sys, time
from terraloom.cli import main
start = time.monotonic()
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.monotonic() - start, "peak_mb": peak}))
sys.exit(code)
"""


def test_all_known_ground_of_a_tile_is_kept_and_all_no_data_left_out(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for product in ("Map", "InputQuality"):
        path = tile_file(shared_data, product)
        (folder / path.name).symlink_to(path)
    map_file = tile_file(shared_data, "Map")
    write_composites(folder, map_file, WHOLE)
    assert len(list(folder.glob("*_S2RGBNIR.tif"))) == 9
    (tmp_path / "terraloom.toml").write_text(SETTINGS.format(folder=folder))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "build", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\nwhole tile: {measured['seconds']:.0f} s, {measured['peak_mb']:.0f} MB")
    assert measured["peak_mb"] < MOST_MB

    counted = count_patches(map_file, WHOLE, SIZE)
    whole, empty = counted.known == SIZE**2, counted.imaged == 0
    lines = WHOLE.height // SIZE
    told = json.loads((tmp_path / "build" / "filters.json").read_text())
    assert told["candidates"] == whole.size == lines**2 == 19_600
    assert told["funnel"] == {
        "blank image": int(empty.sum()),
        "kept": int(whole.sum()),
        "unknown pixels": int((~whole & ~empty).sum()),
    }
    assert told["left_out"] == {}
    samples = Table.open(tmp_path / "build" / "samples")
    rows = samples.read(["id", "shares"]).to_pylist()
    ids = [f"2020-N00E006-r{r * SIZE:06d}-c{c * SIZE:06d}" for r, c in np.argwhere(whole)]
    assert sorted(row["id"] for row in rows) == sorted(ids)
    shares = np.array([row["shares"] for row in rows]).sum(axis=0) * SIZE**2
    for label, land in enumerate(TABLE.classes):
        pixels = sum(counted.codes[code][whole].sum() for code in land.codes)
        assert shares[label] == pytest.approx(pixels, abs=max(1, 1e-5 * pixels))
