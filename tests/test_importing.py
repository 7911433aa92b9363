"""Importing ARAS400k: everything that came with it is taken in, and what does not fit is told."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from terraloom.cli import app
from terraloom.errors import InputError
from terraloom.files import sha256_of
from terraloom.importing._aras_rows import origin_of, parent_of, seed_of
from terraloom.importing._csv_rows import CsvRows, each_row, read_header
from terraloom.importing.aras import PUBLISHED_MD5, import_aras
from terraloom.importing.archives import check_archives, read_md5_file
from terraloom.samples import decode
from terraloom.settings import load_settings
from terraloom.tables import Table
from tests.sources import aras_layout
from tests.sources.aras_layout import CLASSES, SYNTHETIC, WRITERS, name_of


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in; copy it before you change it."""
    folder = tmp_path_factory.mktemp("aras") / "data"
    aras_layout.write_layout(folder)
    return folder


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "data"))


def table_bytes(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): sha256_of(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# What is taken in


def test_synthetic_pairs_become_samples_with_origin_parent_and_seed(
    pristine: Path, tmp_path: Path
) -> None:
    summary = import_aras(pristine, tmp_path)
    rows = Table.open(tmp_path / "import" / "synthetic").read().to_pylist()
    told = [(r["id"], r["origin"], r["parent"], r["seed"], r["split"]) for r in rows]
    assert told == [
        ("synth-free", "unconditional", None, None, ""),
        ("synth-seed0001", "unconditional", None, 1, ""),
        ("synth-seed0002", "unconditional", None, 2, ""),
        ("synth-spade_N40E033_010_021", "conditional", "N40E033_010_021", None, ""),
    ]
    # By hand: the second synthetic pair is the third train patch of the first row, upside down.
    train = decode((pristine / "train" / "images" / f"{name_of(0, 2)}.png").read_bytes())
    mask = decode((pristine / "train" / "masks" / f"{name_of(0, 2)}.png").read_bytes())
    assert (decode(rows[2]["image"]) == train[::-1]).all()
    assert (CLASSES.colour_image(decode(rows[2]["mask"])) == mask[::-1]).all()
    uris = [file["uri"] for file in rows[0]["source"]]
    assert uris == ["synth/images/free.png", "synth/masks/free.png"]
    assert rows[0]["source"][0]["sha256"] == sha256_of(pristine / uris[0])
    assert rows[0]["source"][0]["licence"] == "CC-BY-4.0"
    assert summary["synthetic"]["by_origin"] == {"conditional": 1, "unconditional": 3}
    assert summary["synthetic"]["origin_told_by_name"] == 3


def test_captions_are_taken_along_with_what_their_writers_saw(
    pristine: Path, tmp_path: Path
) -> None:
    summary = import_aras(pristine, tmp_path)
    rows = Table.open(tmp_path / "import" / "captions").read().to_pylist()
    assert len(rows) == 16 * 5
    assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
    first = rows[:5]
    assert [r["index"] for r in first] == [0, 1, 2, 3, 4]
    assert [r["writer"] for r in first] == list(WRITERS)
    assert [(r["mode"], r["saw"]) for r in first] == [
        ("vision-language", ["image", "shares"]),
        ("vision-language", ["image", "shares"]),
        ("language", ["shares"]),
        ("vision", ["image"]),
        ("vision", ["image"]),
    ]
    assert first[2]["model"] == "Qwen/Qwen3-4B-Instruct-2507"
    for row in rows:
        stem = row["id"].removeprefix("synth-")
        assert row["text"] == aras_layout.caption(row["writer"], stem)
    # By hand: hybrids tell a percentage; the others have the digits of N40 in twelve real names
    # and none in "see", "spa", "fre".
    by_writer = summary["captions"]["by_writer"]
    assert by_writer["hybrid_gemma3-4b"]["with_digits"] == 16
    assert by_writer["vision_gemma3-4b"] == {
        "captions": 16,
        "missing": 0,
        "with_digits": 12,
        "share_with_digits": 0.75,
    }


def test_percentages_stand_beside_those_measured_on_the_masks(data: Path, tmp_path: Path) -> None:
    path = data / "class_percentages" / "val.csv"
    rows = list(csv.reader(path.open(encoding="utf-8")))
    tree = rows[0].index("Tree")
    rows[1][tree] = str(100 - int(rows[1][tree]))
    aras_layout.write_csv(path, rows[0], rows[1:])
    wrong = rows[1][0].removesuffix(".png")
    summary = import_aras(data, tmp_path / "out")["percentages"]
    assert summary["compared"] == 16
    assert [entry["id"] for entry in summary["more_than_one_point_off"]["first"]] == [wrong]
    assert summary["largest_difference_id"] == wrong
    for row in Table.open(tmp_path / "out" / "import" / "percentages").read().to_pylist():
        split = row["split"]
        stem = row["id"].removeprefix("synth-")
        mask = decode((data / split / "masks" / f"{stem}.png").read_bytes())
        counts = [(mask == colour).all(axis=-1).mean() * 100 for colour in CLASSES.colours]
        np.testing.assert_allclose(row["measured_percent"], counts, atol=1e-4)
        difference = np.abs(np.subtract(row["published_percent"], counts)).max()
        assert row["largest_difference_points"] == pytest.approx(difference, abs=1e-4)
        assert (difference > 1) == (row["id"] == wrong)


def test_the_real_rows_of_the_published_table_are_read_as_they_are(
    shared_data: Path, pristine: Path, tmp_path: Path
) -> None:
    source = shared_data / "captions" / "aras400k_rows.csv"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    rows = list(csv.DictReader(source.open(newline="", encoding="utf-8")))
    assert len(rows) == 13
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / "test" / kind).mkdir(parents=True)
        stand_in = pristine / "test" / kind / f"{name_of(0, 0)}.png"
        for row in rows:
            shutil.copyfile(stand_in, data / "test" / kind / row["filename"])
    shutil.copyfile(source, data / "aras400k_rows.csv")
    summary = import_aras(data, tmp_path / "out")
    captions = Table.open(tmp_path / "out" / "import" / "captions").read().to_pylist()
    expected = {(r["filename"].removesuffix(".png"), w): r[w] for r in rows for w in WRITERS}
    assert {(c["id"], c["writer"]): c["text"] for c in captions} == expected
    digits = {w: sum(any(ch.isdigit() for ch in r[w]) for r in rows) for w in WRITERS}
    by_writer = summary["captions"]["by_writer"]
    assert {w: by_writer[w]["with_digits"] for w in WRITERS} == digits
    assert digits["vision_gemma3-4b"] == 0 < digits["hybrid_gemma3-4b"]
    shares = Table.open(tmp_path / "out" / "import" / "percentages").read().to_pylist()
    first = next(row for row in shares if row["id"] == "N40E033_041_023")
    assert first["published_percent"] == [3, 0, 86, 3, 1, 6, 1]
    # The stand-in's masks are not the real ones, and that is told.
    assert summary["percentages"]["more_than_one_point_off"]["count"] >= 12


# What is told


def test_neighbours_across_the_published_split_are_counted(pristine: Path, tmp_path: Path) -> None:
    counts = import_aras(pristine, tmp_path)["neighbours"]
    assert counts == {
        role: {"patches": 2, "touch_train_by_edge": 2, "touch_train_by_edge_or_corner": 2}
        for role in ("val", "test")
    }


def test_files_without_partner_and_rows_without_image_are_named(data: Path, tmp_path: Path) -> None:
    (data / "train" / "masks" / f"{name_of(1, 1)}.png").unlink()
    (data / "test" / "images" / f"{name_of(0, 0)}.png").unlink()
    (data / "synth" / "masks" / "free.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (data / "notes.csv").write_text("author,year\nx,2021\n")
    with open(data / "captions.csv", "a", encoding="utf-8") as handle:
        handle.write(f"ghost.png,train,a,b,c,d,e\n{name_of(1, 0)}.png,train,again,,,,\n")
    summary = import_aras(data, tmp_path / "out")
    assert summary["image_without_mask"] == {"count": 1, "first": [f"train/{name_of(1, 1)}"]}
    assert summary["mask_without_image"] == {"count": 1, "first": [f"test/{name_of(0, 0)}"]}
    assert summary["csv"]["ignored"] == ["notes.csv"]
    assert summary["csv"]["repeated_rows"] == {"captions.csv": 1}
    assert summary["csv"]["rows_without_image"]["captions.csv"] == {
        "count": 2,
        "first": [f"{name_of(0, 0)}.png", "ghost.png"],
    }
    assert summary["captions"]["captions"] == 15 * 5
    unreadable = summary["synthetic"]["unreadable"]
    assert (unreadable["count"], list(unreadable["first"])) == (1, ["free"])
    assert "free.png" in unreadable["first"]["free"]
    assert summary["synthetic"]["rows"] == 3
    problems = summary["percentages"]["problems"]["first"]
    assert problems[name_of(1, 1)] == "image without mask"
    assert "free.png cannot be read" in problems["synth-free"]


def test_an_empty_cell_is_no_caption_and_is_counted(data: Path, tmp_path: Path) -> None:
    path = data / "captions.csv"
    rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
    rows[3][4] = "  "
    del rows[4]
    aras_layout.write_csv(path, rows[0], rows[1:])
    captions = import_aras(data, tmp_path / "out")["captions"]
    assert captions["by_writer"]["text_qwen3-4b"]["missing"] == 2
    assert captions["by_writer"]["vision_gemma3-4b"]["missing"] == 1
    assert captions["images_without_caption"]["count"] == 1


@pytest.mark.parametrize(
    ("stem", "origin", "told", "parent", "seed"),
    [
        ("seed0042", "unconditional", True, None, 42),
        ("uncond_7", "unconditional", True, None, None),
        ("N40E033_041_023", "conditional", True, "N40E033_041_023", None),
        ("spade_N40E033_041_023_v2", "conditional", True, "N40E033_041_023", None),
        ("conditional-9", "conditional", True, None, None),
        ("img000001", "unconditional", False, None, None),
    ],
)
def test_names_tell_origin_parent_and_seed(
    stem: str, origin: str, told: bool, parent: str | None, seed: int | None
) -> None:
    assert (origin_of(stem), parent_of(stem), seed_of(stem)) == ((origin, told), parent, seed)


# Archives


def test_archives_are_compared_with_their_checksums(pristine: Path, tmp_path: Path) -> None:
    md5 = aras_layout.write_archives(tmp_path / "zips", pristine)
    summary = import_aras(pristine, tmp_path / "out", archives=tmp_path / "zips", md5=md5)
    assert summary["archives_md5"] == md5
    # An import that stands already takes the checksums along, and keeps its tables.
    import_aras(pristine, tmp_path / "later")
    stage = tmp_path / "later" / "import" / "stage.json"
    before = stage.stat().st_mtime_ns
    again = import_aras(pristine, tmp_path / "later", archives=tmp_path / "zips", md5=md5)
    assert again == summary
    assert stage.stat().st_mtime_ns == before
    with open(tmp_path / "zips" / "val.zip", "r+b") as handle:
        handle.seek(1000)
        byte = handle.read(1)
        handle.seek(1000)
        handle.write(bytes([byte[0] ^ 1]))
    with pytest.raises(InputError, match=r"1 of 4 archives in .*zips differ .*: val\.zip has "):
        import_aras(pristine, tmp_path / "new", archives=tmp_path / "zips", md5=md5)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"holds none of synth\.zip, test\.zip, train"):
        import_aras(pristine, tmp_path / "new", archives=tmp_path, md5=PUBLISHED_MD5)


def test_archives_that_are_not_there_are_not_missed(tmp_path: Path) -> None:
    (tmp_path / "val.zip").write_bytes(b"abc")
    # MD5("abc"), RFC 1321, A.5.
    known = {"val.zip": "900150983cd24fb0d6963f7d28e17f72", "train.zip": "0" * 32}
    assert check_archives(tmp_path, known) == {"val.zip": known["val.zip"]}


def test_a_list_of_checksums_is_read_as_md5sum_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "sums"
    path.write_text("900150983CD24FB0D6963F7D28E17F72  dir/val.zip\n" + "0" * 32 + " *t.zip\n")
    assert read_md5_file(path) == {
        "val.zip": "900150983cd24fb0d6963f7d28e17f72",
        "t.zip": "0" * 32,
    }
    path.write_text("val.zip 12\n")
    with pytest.raises(InputError, match=r"sums holds the line 'val\.zip 12'"):
        read_md5_file(path)


# Rows of a CSV file


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_rows_are_found_again_by_their_offset_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], marked: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8-sig" if marked else "utf-8") as handle:
        csv.writer(handle).writerows([["key", "text"], *([str(i), t] for i, t in enumerate(texts))])
    table = CsvRows(path, read_header(path))
    for offset, row in each_row(path):
        table.offsets[row["key"]] = offset
    found = table.read([str(i) for i in reversed(range(len(texts)))] + ["absent"])
    assert {int(key): row["text"] for key, row in found.items()} == dict(enumerate(texts))


def test_a_table_in_another_encoding_is_told(data: Path, tmp_path: Path) -> None:
    (data / "captions.csv").write_bytes("filename,text_qwen3-4b\na,Köln\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"captions\.csv is not a CSV file in UTF-8"):
        import_aras(data, tmp_path / "out")


# Resume


def test_an_import_killed_at_any_moment_ends_with_the_same_bytes(
    pristine: Path, tmp_path: Path
) -> None:
    import_aras(pristine, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [
        *(sys.executable, "-m", "terraloom", "import", "aras", str(pristine), str(out)),
        *("--workers", "1"),
    ]
    moments = ("started.json", "percentages/part-00000.parquet", "synthetic/part-00000.parquet")
    for moment in moments:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not (out / "import" / moment).exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it had ended before {moment} was seen"
    assert not (out / "import" / "stage.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert table_bytes(out) == table_bytes(tmp_path / "whole")


def fail_at(module: object, name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, stop)
    return monkeypatch.undo


def test_what_was_done_before_a_stop_is_kept(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from terraloom.importing import _aras_tables

    undo = fail_at(_aras_tables.CaptionRows, "__call__", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        import_aras(pristine, tmp_path / "out")
    undo()
    shard = tmp_path / "out" / "import" / "synthetic" / "part-00000.parquet"
    before = shard.stat().st_mtime_ns
    assert not (tmp_path / "out" / "import" / "import.json").exists()
    import_aras(pristine, tmp_path / "out")
    assert shard.stat().st_mtime_ns == before
    import_aras(pristine, tmp_path / "whole")
    assert table_bytes(tmp_path / "out") == table_bytes(tmp_path / "whole")


def test_a_changed_copy_is_imported_anew(data: Path, tmp_path: Path) -> None:
    assert import_aras(data, tmp_path / "out")["captions"]["captions"] == 80
    (data / "captions.csv").unlink()
    assert import_aras(data, tmp_path / "out")["captions"]["captions"] == 0


# The command


def test_the_command_writes_settings_that_take_the_real_patches(
    pristine: Path, tmp_path: Path
) -> None:
    out = tmp_path / "project"
    done = CliRunner().invoke(app, ["import", "aras", str(pristine), str(out), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["splits"]["train"] == {"images": 8, "masks": 8, "pairs": 8}
    text = (out / "terraloom.toml").read_text(encoding="utf-8")
    assert str(pristine) not in text
    loaded = load_settings(out)
    assert Path(loaded.options("sources", "aras")["folder"]) == pristine.resolve()
    (out / "terraloom.toml").write_text(text + "# mine\n", encoding="utf-8")
    again = CliRunner().invoke(app, ["import", "aras", str(pristine), str(out)])
    assert again.exit_code == 0
    assert "test: 2 of 2 patches share an edge with a train patch" in again.stdout
    assert (out / "terraloom.toml").read_text(encoding="utf-8").endswith("# mine\n")


def test_the_command_tells_what_does_not_fit(data: Path, tmp_path: Path) -> None:
    (data / "val" / "masks" / f"{name_of(2, 0)}.png").unlink()
    done = CliRunner().invoke(app, ["import", "aras", str(data), str(tmp_path / "out")])
    assert done.exit_code == 0
    assert f"image without mask: 1, such as val/{name_of(2, 0)}" in done.stdout
    assert "pairs: 8 train, 1 val, 2 test, 4 synth" in done.stdout


def test_synthetic_names_of_the_stand_in_are_all_imported(pristine: Path, tmp_path: Path) -> None:
    import_aras(pristine, tmp_path)
    ids = Table.open(tmp_path / "import" / "synthetic").read(["id"]).column("id").to_pylist()
    assert ids == sorted(f"synth-{name}" for name in SYNTHETIC)


@pytest.mark.parametrize(
    ("layout", "message"),
    [("coco", "import knows no layout 'coco'; there is: aras"), ("aras", "is not laid out as")],
)
def test_other_layouts_and_other_folders_are_told(
    tmp_path: Path, layout: str, message: str
) -> None:
    done = CliRunner().invoke(app, ["import", layout, str(tmp_path), str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()
