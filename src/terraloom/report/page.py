"""Face of the report: one self-contained page, its Markdown and JSON twins, figures as files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from terraloom.classes import ClassTable
from terraloom.files import write_bytes, write_text
from terraloom.report import sections
from terraloom.report.caption_benchmark_section import caption_benchmark_sections
from terraloom.report.composition_section import composition_section
from terraloom.report.curves_section import curves_section
from terraloom.report.demand_section import demand_sections
from terraloom.report.fidelity_section import fidelity_section
from terraloom.report.floors_section import floors_section
from terraloom.report.json_twin import json_twin
from terraloom.report.labeller_section import labeller_section
from terraloom.report.markdown_twin import markdown_twin
from terraloom.report.pictures import contact_sheet
from terraloom.report.reading import ProjectFiles
from terraloom.report.synthetic_section import synthetic_section
from terraloom.report.tracing import Tracer, blocks_of, sources_of
from terraloom.report.usefulness_section import usefulness_sections
from terraloom.report.vector import inline_svg
from terraloom.report.verdict_section import verdict_section
from terraloom.report.views import FigureView, GalleryView, Section, Source

PAGE: Final = "report.html"
MARKDOWN: Final = "report.md"
JSON: Final = "report.json"
_FIGURES: Final = "figures"


def write_report(
    project: Path,
    folder: Path,
    *,
    title: str,
    classes: ClassTable,
    provenance: dict[str, Any],
) -> Path:
    """Write `folder`/report.html, its twins report.md and report.json, and `folder`/figures.

    The page needs no network and holds no script; every text in it is escaped, and a content
    policy forbids both. Both twins hold the numbers of the page. Figures are saved as PNG, and as
    SVG where they are shapes. Equal inputs give equal bytes. Stages that have not run are named as
    such. Memory and time do not grow with the number of images, but for their ids.

    Args:
        project: folder of the stages; only read.
        folder: receives page, twins and figures, each atomically, the page last.
        title: name of the project.
        classes: class table that the masks follow.
        provenance: terraloom, settings_sha256, generated, device, versions, seed; what is None or
            left out is not shown.

    Returns:
        The path of the page.
    """
    files = ProjectFiles(project)
    trace = Tracer(files)
    curves = curves_section(files)
    told: list[Section] = [verdict_section(files), *([curves] if curves is not None else [])]
    # A cross-validation holds no data of its own: each of its chains is a project with its page.
    if files.chains:
        told += [floors_section(files), *caption_benchmark_sections(files, classes)]
        told.append(sections.chains_section(files))
    else:
        told += _run_sections(files, classes)
    told.append(sections.published_section(files))
    shown = (*told, sections.provenance_section(files, provenance, sources_of(told, trace)))
    for block in blocks_of(shown):
        if isinstance(block, FigureView):
            write_bytes(folder / _FIGURES / f"{block.name}.png", block.drawing.png)
            if block.drawing.svg:
                write_text(folder / _FIGURES / f"{block.name}.svg", block.drawing.svg)
        elif isinstance(block, GalleryView):
            write_bytes(folder / _FIGURES / f"{block.name}.png", contact_sheet(block))
    generated = provenance.get("generated")
    write_text(folder / MARKDOWN, markdown_twin(title, shown, generated, trace))
    write_text(folder / JSON, json_twin(title, shown, generated, trace))
    path = folder / PAGE
    page = render_page(title, shown, generated, trace=trace, twins=(MARKDOWN, JSON))
    write_text(path, page)
    return path


def _run_sections(files: ProjectFiles, classes: ClassTable) -> list[Section]:
    """What a single run shows between its verdict and the published figures."""
    return [
        sections.data_section(files, classes),
        sections.pipeline_section(files),
        floors_section(files),
        labeller_section(files, classes),
        synthetic_section(files, classes),
        composition_section(files, classes),
        sections.embedding_section(files),
        fidelity_section(files),
        *usefulness_sections(files),
        *demand_sections(files),
        sections.captions_section(files, classes),
        *caption_benchmark_sections(files, classes),
    ]


def render_page(
    title: str,
    shown: Sequence[Section],
    generated: str | None = None,
    *,
    trace: Callable[[str], Source] = Source,
    twins: Sequence[str] = (),
) -> str:
    """The HTML of one self-contained page: no script, no request, every text escaped.

    Args:
        title: of the page.
        shown: its sections.
        generated: when, or None.
        trace: finds file and run of a source that a block names; left out, its words stand.
        twins: names of files beside the page that hold the same figures.
    """
    environment = Environment(
        loader=PackageLoader("terraloom.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline_svg"] = inline_svg
    page = environment.get_template("report.html.j2").render(
        title=title, sections=shown, generated=generated, trace=trace, twins=twins
    )
    # Half a surrogate pair can stand in a JSON text, and no UTF-8 file can hold it.
    return page.encode("utf-8", "replace").decode("utf-8")
