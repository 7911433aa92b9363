"""Commands on anybody's files: maps of scenes, caption files, data sets in other layouts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from terraloom.cli._app import (
    JsonOption,
    app,
)
from terraloom.errors import OutputError
from terraloom.terminal import (
    output,
    print_prediction,
    print_view,
)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Project folder, or a trained segmenter's folder.")],
    scene: Annotated[
        str, typer.Argument(help="GeoTIFF or VRT; or one file per band, RED,GREEN,BLUE.")
    ],
    out: Annotated[Path, typer.Argument(help="Map to write, a cloud-optimised GeoTIFF.")],
    bands: Annotated[
        str, typer.Option("--bands", help="Red, green, blue, counted from 1 through all files.")
    ] = "1,2,3",
    low: Annotated[
        float | None, typer.Option("--low", help="Value drawn as 0; left out, the project's.")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--high", help="Value drawn as 255; left out, the project's.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Preset, or file with classes; else the project's."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", help="Side of a tile in pixels; left out, that of its training's crops."
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option("--overlap", help="Pixels that tiles share; left out, a quarter of a tile."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", help="Tiles in one forward pass; left out, by size.")
    ] = None,
    confidence: Annotated[
        Path | None, typer.Option("--confidence", help="Second map: certainty in percent.")
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over mirror images; four times slower.")
    ] = False,
    codes: Annotated[
        bool, typer.Option("--codes", help="Write source codes (WorldCover 10 … 100), not labels.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict the land cover of a whole scene, of any size and in any CRS."""
    from terraloom.errors import InputError
    from terraloom.predicting import predict_scene
    from terraloom.prediction.scenes import open_scene, scene_paths
    from terraloom.trained import load_model

    try:
        numbers = [int(part) for part in bands.split(",")]
    except ValueError:
        raise InputError(f"--bands {bands!r} is no list of numbers, as in --bands 1,2,3.") from None
    paths = scene_paths(scene)
    dtypes = open_scene(paths, numbers).dtypes
    trained = load_model(model, classes)
    low, high = trained.scale_for(dtypes, low, high)
    made = predict_scene(
        trained.segmenter,
        trained.classes,
        paths,
        out,
        low=low,
        high=high,
        bands=numbers,
        tile=trained.window if tile is None else tile,
        overlap=overlap,
        batch=batch,
        confidence=confidence,
        flips=flips,
        codes=codes,
        overwrite=overwrite,
        tags={"model_sha256": trained.sha256, "architecture": trained.architecture},
    )
    print_prediction({**made.to_json(), "model_sha256": trained.sha256}, as_json)


@app.command(name="audit-captions")
def audit_caption_file(
    file: Annotated[
        Path, typer.Argument(help="JSON or CSV with captions, or a captions table's folder.")
    ],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Folder of masks named like the images, or a samples table."),
    ] = None,
    mask_style: Annotated[
        str, typer.Option("--mask-style", help="What masks hold: auto, labels, codes, colours.")
    ] = "auto",
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Preset, or file with classes; else worldcover7."),
    ] = None,
    text_columns: Annotated[
        str | None, typer.Option("--text-columns", help="Of a CSV, separated by commas.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option("--image-column", help="Of a CSV: the image's name or id.")
    ] = None,
    max_images: Annotated[
        int,
        typer.Option("--max-images", min=1, help="Most images compared with shares or masks."),
    ] = 4000,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write all of it as one page as well.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Redundancy, leakage and claims of anybody's caption file."""
    from terraloom.auditing.command import audit_file, write_audit_page
    from terraloom.auditing.views import audit_tables
    from terraloom.trained import class_table_of, read_class_table

    project = file.resolve().parents[1] / "build" if len(file.resolve().parents) > 1 else file
    if classes is None and file.is_dir() and (project / "classes.json").is_file():
        table = read_class_table(project / "classes.json")
    else:
        table = class_table_of(classes or "worldcover7")
    found = audit_file(
        file,
        classes=table,
        masks=masks,
        mask_style=mask_style,
        text_columns=None if text_columns is None else text_columns.split(","),
        image_column=image_column,
        max_images=max_images,
    )
    if html is not None:
        write_audit_page(html, found)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for view in audit_tables(found):
        print_view(view)
    if html is not None:
        output.print(f"page: {html}", soft_wrap=True, markup=False)


@app.command(name="score-captions")
def score_caption_file(
    candidates: Annotated[Path, typer.Argument(help="One caption per image, JSON or CSV.")],
    references: Annotated[Path, typer.Argument(help="Captions that count as right.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Folder of masks, or a samples table: checks claims too."),
    ] = None,
    mask_style: Annotated[
        str, typer.Option("--mask-style", help="What masks hold: auto, labels, codes, colours.")
    ] = "auto",
    classes: Annotated[
        str, typer.Option("--classes", help="Preset, or file with classes.")
    ] = "worldcover7",
    only_candidates: Annotated[
        bool,
        typer.Option("--only-candidates", help="Leave out images that no candidate is of."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Claim accuracy, BLEU, METEOR, ROUGE-L and CIDEr-D of a caption file."""
    from terraloom.auditing.overlap import overlap_table, score_files
    from terraloom.trained import class_table_of

    found = score_files(
        candidates,
        references,
        classes=class_table_of(classes),
        masks=masks,
        mask_style=mask_style,
        only_candidates=only_candidates,
    )
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_view(overlap_table(found))


@app.command()
def world(
    folder: Annotated[Path, typer.Argument(help="Receives the GeoTIFF tiles.")],
    height: Annotated[int, typer.Option(min=64, help="Pixels from north to south.")] = 1024,
    width: Annotated[int, typer.Option(min=64, help="Pixels from west to east.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the landscape.")] = 0,
    season: Annotated[float, typer.Option(min=0, max=1, help="Time of the year.")] = 0.55,
) -> None:
    """Write the procedural world as GeoTIFF tiles under the official WorldCover names."""
    from terraloom.sources.world import Settings, write_world

    settings = Settings(height=height, width=width, season=season)
    for path in write_world(folder, settings, seed):
        output.print(str(path), soft_wrap=True)


@app.command()
def export(
    layout: Annotated[str, typer.Argument(help="A member of exporters, such as folder.")],
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    folder: Annotated[Path, typer.Argument(help="Receives the data set; new or empty.")],
) -> None:
    """Write the data set (real samples and kept synthetic ones) in another layout."""
    from terraloom import families
    from terraloom.files import check_writable
    from terraloom.tables import MANIFEST, Table
    from terraloom.trained import read_class_table

    module = families.member("exporters", layout)
    real = Table.open(project / "build" / "samples")
    classes = read_class_table(project / "build" / "classes.json")
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; choose a new folder.")
    check_writable(folder)
    synthetic, kept = None, frozenset[str]()
    if (project / "curate" / "verdicts" / MANIFEST).exists():
        synthetic = Table.open(project / "label" / "samples")
        rows = Table.open(project / "curate" / "verdicts").read(["id", "keep"]).to_pylist()
        kept = frozenset(row["id"] for row in rows if row["keep"])
    captions = {
        kind: Table.open(project / "caption" / kind)
        for kind in ("real", "synthetic")
        if (project / "caption" / kind / MANIFEST).exists()
    }
    exporter = module.build(module.Settings(), classes)
    count = exporter.export(real, synthetic, kept, captions, folder)
    output.print(f"wrote {count} samples to {folder}", soft_wrap=True)


@app.command(name="import")
def import_data(
    layout: Annotated[str, typer.Argument(help="Layout of the data set: aras.")],
    folder: Annotated[Path, typer.Argument(help="The data set, as its archives unpack.")],
    out: Annotated[Path, typer.Argument(help="Project folder.")],
    zips: Annotated[
        Path | None,
        typer.Option("--zips", help="Folder of the archives to check; left out, the data set's."),
    ] = None,
    md5: Annotated[
        Path | None,
        typer.Option("--md5", help="List of checksums, as md5sum writes it, for another edition."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: all cores.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Take in a published data set with its captions, percentages and synthetic part."""
    from terraloom.engines import local_engine
    from terraloom.errors import InputError
    from terraloom.importing.aras import PUBLISHED_MD5, import_aras, summary_lines
    from terraloom.importing.archives import read_md5_file

    if layout != "aras":
        raise InputError(f"import knows no layout {layout!r}; there is: aras.")
    with local_engine(workers) as engine:
        summary = import_aras(
            folder,
            out,
            archives=zips,
            md5=PUBLISHED_MD5 if md5 is None else read_md5_file(md5),
            engine=engine,
        )
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    for line in summary_lines(summary):
        output.print(line, soft_wrap=True)
    output.print(f"all of it: {out / 'import' / 'import.json'}", soft_wrap=True)
    output.print(f"next: terraloom build {out}", soft_wrap=True)


@app.command()
def members(as_json: JsonOption = False) -> None:
    """List every family and its members."""
    from terraloom import families

    found = {
        family: {name: families.description(family, name) for name in families.members(family)}
        for family in families.FAMILIES
    }
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for family, entries in found.items():
        output.print(f"[bold]{family}[/]")
        for name, line in entries.items():
            output.print(f"  {name:<14} {line}", soft_wrap=True, markup=False)
