"""SVG inside a page: nothing but shapes and letters, in the page's own colours."""

import re
from typing import Final
from xml.etree import ElementTree

from markupsafe import Markup

INK: Final = "#1c1f23"
SOFT: Final = "#5a626c"
GRID: Final = "#dfe3e8"
WASH: Final = "#eceff2"
PAPER: Final = "#ffffff"
_TOKENS: Final = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    GRID: "var(--line)",
    WASH: "var(--band)",
    PAPER: "var(--paper)",
}
"""Colours that follow the page, by what stands for them in a figure's file."""
_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"
_HEX: Final = re.compile("|".join(_TOKENS))
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
# What XML 1.0 cannot hold, escaped or not.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DROPPED: Final = ("metadata", "style", "script", "foreignObject", "a")


def clean_svg(svg: str) -> str:
    """An SVG that is whole XML whatever its letters: characters that XML forbids are replaced."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", svg)


def inline_svg(svg: str, name: str, alt: str) -> Markup:
    """A figure's SVG as an element of a page.

    It is taken apart and written anew: letters are escaped again, comments, styles, scripts and
    links are left out, ids carry the figure's name so that two figures share none.

    Args:
        svg: as the figure's file holds it.
        name: of the figure, unique in its page.
        alt: what it shows, for those who cannot see it.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    # Drawn by this program a moment ago, not read from anywhere.
    root = ElementTree.fromstring(clean_svg(svg))  # noqa: S314
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rsplit("}", 1)[-1] in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.rsplit("}", 1)[-1] == "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif key.startswith("on"):
                del element.attrib[key]
            elif key in ("style", "fill", "stroke", "clip-path", "mask"):
                value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
                element.set(key, _HEX.sub(lambda found: _TOKENS[found[0]], value))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("class", "drawing")
    root.set("role", "img")
    root.set("aria-label", alt)
    # Escaped by the serialiser: every letter of a figure is text there.
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704
