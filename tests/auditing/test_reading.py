"""Caption files of every layout, and files that are none."""

import json

import pytest

from terraloom.auditing.reading import open_captions
from terraloom.errors import CaptionFileError


def write(folder, name, content):
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


RSICD = [{"filename": "a.jpg", "split": "train", "captions": ["x", "y"]},
         {"filename": "b.jpg", "captions": ["z"]}]  # fmt: skip
KARPATHY = {"dataset": "d", "images": [
    {"filename": "a.jpg", "imgid": 0, "sentences": [{"raw": "x", "tokens": ["x"]}, {"raw": "y"}]},
    {"filename": "b.jpg", "imgid": 1, "sentences": [{"raw": "z"}]}]}  # fmt: skip
COCO = {"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "caption": "x"},
                        {"id": 2, "image_id": 7, "caption": "y"},
                        {"id": 3, "image_id": 8, "caption": "z"}]}  # fmt: skip
FLAT = [{"image": "a.jpg", "caption": "x"}, {"image": "a.jpg", "caption": "y"},
        {"image": "b.jpg", "caption": "z"}]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "layout"), [
    ("r.json", RSICD, "JSON list of records"),
    ("k.json", KARPATHY, "Karpathy JSON"),
    ("c.json", COCO, "COCO captions JSON"),
    ("f.json", FLAT, "JSON list of records"),
    ("m.json", {"a.jpg": ["x", "y"], "b.jpg": "z"}, "JSON of captions by image"),
    ("l.jsonl", "\n".join(map(json.dumps, FLAT)), "JSON objects, one per line"),
    ("bom.json", b"\xef\xbb\xbf" + json.dumps(RSICD).encode(), "JSON list of records"),
    ("c.csv", "filename,caption\na.jpg,x\na.jpg,y\nb.jpg,z\n", "CSV, captions in caption"),
    ("n.csv", "image,caption_1,caption_2\na.jpg,x,y\nb.jpg,z,\n",
     "CSV, captions in caption_1, caption_2"),
    ("t.tsv", "image\ttext\na.jpg\tx\na.jpg\ty\nb.jpg\tz\n", "CSV, captions in text"),
])  # fmt: skip
def test_layouts_are_recognised_and_hold_the_same_captions(tmp_path, name, content, layout):
    captions = open_captions(write(tmp_path, name, content))
    assert captions.layout == layout
    for _ in range(2):  # as often as they are asked for
        assert [tuple(row) for row in captions.rows()] == [
            ("a.jpg", "", "x"), ("a.jpg", "", "y"), ("b.jpg", "", "z"),
        ]  # fmt: skip


def test_columns_of_an_aras_file_are_writers(tmp_path):
    path = write(tmp_path, "a.csv",
                 'filename,Tree,vision_m,hybrid_m\na.png,3,"x, or y","86% grass\nin two lines"\n'
                 "b.png,4,,ERROR: Failed to caption\n")  # fmt: skip
    captions = open_captions(path)
    assert list(captions.rows()) == [
        ("a.png", "vision_m", "x, or y"), ("a.png", "hybrid_m", "86% grass\nin two lines"),
    ]  # fmt: skip
    assert captions.left_out == {
        "empty": 1, "an error message in place of a caption": 1,
    }  # fmt: skip
    assert captions.left_out_at["empty"] == ["b.png"]
    only = open_captions(path, text_columns=["vision_m"])
    assert [row.writer for row in only.rows()] == [""]


def test_what_is_no_text_is_counted_and_not_lost(tmp_path):
    captions = open_captions(
        write(tmp_path, "r.json", [{"id": 3, "captions": ["x", None, 5, "  "]}])
    )
    assert list(captions.rows()) == [("3", "", "x")]
    assert captions.left_out == {"not a text": 2, "empty": 1}


def test_writers_are_told_where_the_file_tells_them(tmp_path):
    captions = open_captions(write(tmp_path, "r.json", [{"id": "a", "caption": "x", "model": "m"}]))
    assert list(captions.rows()) == [("a", "m", "x")]


def test_hostile_texts_are_data(tmp_path):
    texts = [
        "<script>alert(1)</script>",
        "x" * 10_000_000,
        "\u202egnp.exe",
        "a\x1b[31mred",
        "\ud800",
    ]
    captions = open_captions(write(tmp_path, "h.json", {"a": texts}))
    assert [row.text for row in captions.rows()] == texts
    path = write(tmp_path, "h.csv", f'id,caption\na,"{"y " * 3_000_000}"\n')
    assert len(next(open_captions(path).rows()).text) == 6_000_000


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.json", '[{"filename": "a", "captions": ["x"', "is not whole JSON: .* in line 1"),
    ("a.json", {"info": 1, "licenses": []}, "with the keys info, licenses, which is no layout"),
    ("a.json", [{"a": 1}], "entry 0 has the keys a; one of filename, .* are needed"),
    ("a.json", ["x"], "entry 0 is a text, not an object"),
    ("a.json", {"images": [], "annotations": [{"bbox": []}]}, "annotation 0 is no caption"),
    ("a.json", "[" * 100_000, "nested too deeply"),
    ("a.json", b'[{"filename": "a",\n "captions": ["caf\xe9"]}]',
     r"not UTF-8: byte 0xe9 in line 2 \(byte 37\)"),
    ("a.csv", b"id,caption\na,x\nb,caf\xe9\n", r"not UTF-8: byte 0xe9 in line 3 \(byte 20\)"),
    ("a.json", "x".encode("utf-16"), "is UTF-16, not UTF-8"),
    ("a.csv", b"\x1f\x8b\x08\x00", "is not a text file. Unpack it"),
    ("a.csv", "", "is empty"),
    ("a.csv", "name,length\na,3\n", "no column looks like a caption; it has name, length"),
    ("a.csv", "caption,score\na,3\n", "no column looks like an image"),
    ("a.csv", "id,caption\na,x,y\n", "row 2 has 3 values, the header 2"),
    ("a.csv", 'id,caption\na,"x\n', "is not a whole CSV file"),
])  # fmt: skip
def test_what_is_no_caption_file_is_told_in_one_message(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(CaptionFileError, match=message) as caught:
        list(open_captions(path).rows())
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 700


def test_missing_files_folders_and_columns_are_told(tmp_path):
    with pytest.raises(CaptionFileError, match="there is no file"):
        open_captions(tmp_path / "none.json")
    with pytest.raises(CaptionFileError, match=r"folder without manifest\.json"):
        open_captions(tmp_path)
    path = write(tmp_path, "a.csv", "id,caption\na,x\n")
    with pytest.raises(CaptionFileError, match="has no column 'text'; it has id, caption"):
        open_captions(path, text_columns=["text"])


def test_a_table_without_captions_is_refused(tmp_path):
    from terraloom.testing import write_real

    with pytest.raises(CaptionFileError, match="without the column 'writer'"):
        open_captions(write_real(tmp_path / "samples", 2, 0, 0).folder)
