"""Figures as shapes: safe inside a page, whole whatever the letters, readable in both themes."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from terraloom.classes import ClassTable, LandClass
from terraloom.report import figures
from terraloom.report.drawing import class_colour
from terraloom.report.pictures import PHOTO_BYTES, encode_photo
from terraloom.report.vector import PAPER, inline_svg

STYLE = Path(__file__).parents[2] / "src/terraloom/report/templates/style.css"
NASTY = ("</text><script>alert(1)</script>", "bell\x07 & half", "]]>--!>", "#1c1f23")


def nasty_classes() -> ClassTable:
    colours = [(255, 255, 255), (28, 31, 35), (10, 200, 10), (200, 10, 10)]
    return ClassTable(
        classes=tuple(
            LandClass.model_construct(name=name, colour=colour, codes=(), synonyms=())
            for name, colour in zip(NASTY, colours, strict=True)
        )
    )


def shares() -> dict[str, np.ndarray]:
    return {"train (3)": np.array([0.4, 0.3, 0.2, 0.1])}


def test_any_name_is_text_in_the_file_and_in_the_page() -> None:
    drawing = figures.class_shares(shares(), nasty_classes())
    inline = inline_svg(drawing.svg, "shares", 'alt "quoted" <b>')
    for svg in (drawing.svg, str(inline)):
        root = ElementTree.fromstring(svg)
        tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
        assert "script" not in tags
        letters = "".join(root.itertext())
        assert NASTY[0] in letters
        assert "\x07" not in letters
        # A name that looks like one of the page's colours stays a name.
        assert NASTY[3] in letters
    assert inline.count("var(--ink)") > 3
    assert "<b>" not in inline.split(">", 1)[0]


def test_two_figures_of_a_page_share_no_id() -> None:
    classes = nasty_classes()
    drawing = figures.class_shares(shares(), classes)
    ids = [
        re.findall(r'\bid="([^"]+)"', inline_svg(drawing.svg, name, "")) for name in ("one", "two")
    ]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    used = re.findall(r"url\(#([^)]+)\)", inline_svg(drawing.svg, "one", ""))
    assert set(used) <= set(ids[0])


def test_a_white_class_stays_white_in_the_dark() -> None:
    classes = nasty_classes()
    rgb = [round(255 * value) for value in class_colour(classes, 0)]
    assert rgb != [255, 255, 255]
    assert min(rgb) >= 254
    assert PAPER == "#ffffff"


def test_pictures_are_exact_while_small_and_jpeg_above() -> None:
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    large = random.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    assert encode_photo(small).startswith(b"\x89PNG")
    assert encode_photo(large).startswith(b"\xff\xd8")
    assert len(encode_photo(small)) <= PHOTO_BYTES


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    values = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_letters_stand_out_in_both_themes(theme: int) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    found = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", found[theme]))
    for ink, ground in (
        ("ink", "paper"), ("ink", "wash"), ("ink", "warn-wash"), ("ink", "good-wash"),
        ("ink", "bad-wash"), ("soft", "paper"), ("soft", "wash"), ("soft", "warn-wash"),
        ("good", "paper"), ("bad", "paper"), ("blue", "paper"),
    ):  # fmt: skip
        light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
