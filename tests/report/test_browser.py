"""What a browser makes of page and twins: nothing runs, nothing is cut off, dark is dark."""

import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from .conftest import HOSTILE, browse

pytestmark = pytest.mark.browser
# Stands first in every page below: whatever runs leaves a mark that the written-out page shows.
ALARM = (
    "<script>window.alert = (n) => document.documentElement.setAttribute('data-ran', n)</script>"
)
DRAWN_SOON = "--virtual-time-budget=3000"


def ran(page: str, scratch: Path) -> bool:
    """Whether anything in a page called `alert`."""
    path = scratch / "opened.html"
    path.write_text(page, encoding="utf-8")
    done = browse(path, scratch, DRAWN_SOON, "--dump-dom")
    assert "<body" in done.stdout, done.stderr[-500:]
    return "data-ran=" in done.stdout.split("<body", 1)[0]


def test_the_alarm_goes_off_where_text_is_not_escaped(tmp_path: Path) -> None:
    assert ran(f"<html><head>{ALARM}</head><body><p>{HOSTILE}</p></body></html>", tmp_path)


def test_the_page_runs_nothing_even_without_its_policy(
    hostile_report: Path, tmp_path: Path
) -> None:
    page = (hostile_report / "report.html").read_text(encoding="utf-8")
    bare, removed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', ALARM, page)
    assert removed == 1
    assert not ran(bare, tmp_path)


def test_the_policy_stops_what_escaping_would_miss(hostile_report: Path, tmp_path: Path) -> None:
    page = (hostile_report / "report.html").read_text(encoding="utf-8")
    done = f"<script>document.documentElement.setAttribute('data-ran', 3)</script>{HOSTILE}</main>"
    assert not ran(page.replace("</main>", done), tmp_path)


def test_markdown_runs_nothing_where_its_reader_lets_html_through(
    hostile_report: Path, tmp_path: Path
) -> None:
    text = (hostile_report / "report.md").read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = f"<html><head><meta charset=utf-8>{ALARM}</head><body>{body}</body></html>"
    assert "<table>" in body
    assert not ran(page, tmp_path)
    assert "<script" not in body
    assert "<img src=x" not in body


def test_json_runs_nothing_inside_a_page_and_reads_back(
    hostile_report: Path, tmp_path: Path
) -> None:
    text = (hostile_report / "report.json").read_text(encoding="utf-8")
    page = (
        f"<html><head>{ALARM}</head><body><script>const report = {text};"
        "document.title = report.sections.length</script></body></html>"
    )
    assert not ran(page, tmp_path)
    assert HOSTILE in json.loads(text)["title"]
    assert not set("<>&") & set(text)


def test_a_browser_draws_the_page_without_a_complaint(hostile_report: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    done = browse(
        hostile_report / "report.html", tmp_path, "--window-size=1000,1500", f"--screenshot={shot}"
    )
    # Every message of the page, an error or a violation of its content policy, is a CONSOLE line.
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(shot) as image:
        assert image.size == (1000, 1500)
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 100


def test_a_phone_of_380_pixels_scrolls_down_only(report: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    address = (report / "report.html").as_uri()
    frame.write_text(
        f"""<body><iframe id="phone" src="{address}" width="380" height="800"></iframe>
        <script>phone.onload = () => {{
          const page = phone.contentDocument;
          const wide = [...page.querySelectorAll("body *")].filter((e) =>
            e.getBoundingClientRect().right > 381 && !e.closest(".scroll, .frame, nav"));
          document.title = JSON.stringify({{width: page.documentElement.scrollWidth,
            wide: wide.map((e) => e.outerHTML.slice(0, 80)),
            tables: page.querySelectorAll("table").length}});
        }}</script>""",
        encoding="utf-8",
    )
    done = browse(frame, tmp_path, "--allow-file-access-from-files", DRAWN_SOON, "--dump-dom")
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found is not None, done.stdout[-500:]
    seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert seen["tables"] > 10
    assert seen["wide"] == []
    assert seen["width"] <= 380


def test_dark_readers_get_a_dark_page_and_dark_figures(report: Path, tmp_path: Path) -> None:
    shares = {}
    for name, option in (("light", "1"), ("dark", "0")):
        shot = tmp_path / f"{name}.png"
        browse(
            report / "report.html", tmp_path, "--window-size=1000,3000", "--hide-scrollbars",
            f"--blink-settings=preferredColorScheme={option}", f"--screenshot={shot}",
        )  # fmt: skip
        with Image.open(shot) as image:
            grey = image.convert("L")
            bright = sum(grey.histogram()[200:])
            shares[name] = bright / (grey.width * grey.height)
    assert shares["light"] > 0.8
    # Forest plot and table stand in this part: nowhere a white card is left.
    assert shares["dark"] < 0.1
