"""Atomic writes, checksums and logs."""

import errno
import json
import os
from pathlib import Path

import pytest

from terraloom.errors import OutputError, RunError
from terraloom.files import (
    append_line,
    atomic_path,
    check_writable,
    make_folder,
    read_json,
    read_lines,
    remove_folder,
    remove_leftovers,
    sha256_of,
    sha256_of_value,
    write_bytes,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_until_the_power_fails() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_until_the_power_fails()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.bin"
    write_bytes(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent  # a rename is atomic on one file system only
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(RunError, match=r"cannot write .*a\.txt: No space left.*Free some space"):
        write_text(tmp_path / "a.txt", "x")
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for act in (make_folder, check_writable):
        with pytest.raises(OutputError, match=r"cannot create the folder .*taken.*free its name"):
            act(tmp_path / "taken")
    with pytest.raises(OutputError, match="cannot create the folder"):
        write_text(tmp_path / "taken" / "a.txt", "x")


def test_the_probe_for_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_equal_values_give_equal_json_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "ü"})
    write_json(tmp_path / "b.json", {"a": "ü", "b": [1, 2.5]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": "ü", "b": [1, 2.5]}


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_a_line_torn_by_a_killed_process_is_left_out_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "sub" / "log.jsonl"
    assert read_lines(log) == []
    append_line(log, {"step": 1})
    append_line(log, {"step": 2})
    with log.open("a") as handle:
        handle.write('{"step": 3, "lo')
    assert read_lines(log) == [{"step": 1}, {"step": 2}]


def test_checksums_are_sha256(tmp_path: Path) -> None:
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == of_abc
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    assert sha256_of(tmp_path / "large") != sha256_of(tmp_path / "abc")


def test_a_values_checksum_ignores_the_order_of_keys_and_nothing_else() -> None:
    one = sha256_of_value({"a": 1, "b": [1, 2]})
    assert one == sha256_of_value(json.loads('{"b": [1, 2], "a": 1}'))
    assert one != sha256_of_value({"a": 1, "b": [2, 1]})
    assert sha256_of_value("1") != sha256_of_value(1)


def test_leftovers_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    leftover = tmp_path / ".part-00001.parquet.4711.part"
    for path in (leftover, tmp_path / "part-00000.parquet", tmp_path / ".lock"):
        path.write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "part-00000.parquet"]


def test_removing_a_folder_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()
