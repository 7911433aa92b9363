"""The stages that make: pairs, segmenters, samples, labels and captions."""

from collections.abc import Mapping
from typing import Any

from terraloom.files import read_json, sha256_of, sha256_of_value, write_json
from terraloom.progress import console
from terraloom.runs import StageFolder
from terraloom.seeds import derive_seed
from terraloom.settings import member_settings
from terraloom.stages.context import Context, labeller_names, labellers, samples_by_kind
from terraloom.tables import Table


def build_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Find pairs, cut them, deal out roles, and test for leaks."""
    from terraloom.dataset.build import build_dataset
    from terraloom.engines import local_engine

    with local_engine(context.settings.project.workers) as engine:
        made = build_dataset(
            context.source,
            context.classes,
            folder.path,
            cut=context.settings.cut,
            split=context.settings.split,
            seed=derive_seed(context.seed, "split"),
            acquired=context.acquired,
            engine=engine,
        )
    rows = dict(made.leaks.rows)
    behind = made.held_back.num_rows if made.held_back is not None else 0
    rows["train"] -= behind
    console.print(
        f"  {made.samples.num_rows} of {made.candidates} patches: {rows['train']} train, "
        f"{rows['val']} val, {rows['test']} test; "
        + ", ".join(f"{count} {reason}" for reason, count in made.funnel.items()),
        soft_wrap=True,
    )
    outputs = {"samples": made.samples.sha256}
    if made.held_back is not None:
        outputs["held-back"] = made.held_back.sha256
    return outputs


def segment_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Train the labellers on real train rows, beside simple floors."""
    from terraloom.calibration import calibrate, told
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.floors import FLOORS, measure_floors, unbeaten
    from terraloom.label_noise import estimate_label_noise
    from terraloom.segmenting import CALIBRATION, Recipe, train_segmenter

    settings = context.settings
    real = context.table("build", "samples")
    train, val = train_rows(real, cache=context.cache), val_rows(real, cache=context.cache)
    floors = measure_floors(
        train,
        ([row] for row in val.rows),
        context.classes.names,
        folder.path / FLOORS,
        role="val",
        seed=derive_seed(context.seed, "floors"),
    )
    recipe = Recipe(
        settings.segment.architecture,
        settings.options("segmenters", settings.segment.architecture),
        settings.segment.preset,
        len(context.classes),
        settings.segment.training,
    )
    outputs = {}
    members = [
        train_segmenter(
            train,
            val,
            recipe,
            folder.path / name,
            seed=derive_seed(context.seed, name),
            fabric=context.fabric,
            description=f"training the {name}",
            devices=settings.project.devices,
        )
        for name in labeller_names(settings)
    ]
    for name, member in zip(labeller_names(settings), members, strict=True):
        found = calibrate(member, val, folder.path / name, derive_seed(context.seed, "calibration"))
        console.print(f"  {name}: {told(found)}", soft_wrap=True)
        outputs[name] = sha256_of(folder.path / name / "weights.safetensors")
        outputs[f"{name}/calibration"] = sha256_of(folder.path / name / CALIBRATION)
    if settings.segment.noise_folds:
        noise = estimate_label_noise(
            real,
            val,
            recipe,
            folder.path / "noise",
            folds=settings.segment.noise_folds,
            seed=context.seed,
            fabric=context.fabric,
            devices=settings.project.devices,
            cache=context.cache,
        )
        wrong = noise["wrong_of_all"]
        console.print(
            f"  label noise on train places held back: {100 * wrong['mean']:.1f} % of pixels "
            f"[{100 * wrong['low']:.1f}, {100 * wrong['high']:.1f}], {noise['places']} places",
            soft_wrap=True,
            markup=False,
        )
    best = float(members[0].summary["best_val_f1"])
    beaten = ", ".join(f"{name} {100 * e['f1']:.1f} %" for name, e in floors["floors"].items())
    console.print(f"  best macro F1 on val: {100 * best:.1f} %; floors: {beaten}")
    for name in unbeaten(floors, best):
        console.print(
            f"[yellow]  the labeller does not beat the floor {name}[/]: train it for longer, or "
            "look at the labels",
            soft_wrap=True,
        )
    # The floors are no output: nothing but the page reads them, and they follow from the rows.
    return outputs


def generate_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Train the generators on real train rows, and make samples."""
    from terraloom.dataset.rows import train_rows, val_rows
    from terraloom.generating import synthesize, train_generator
    from terraloom.segmenting import load_segmenter

    settings = context.settings
    real = context.table("build", "samples")
    train, val = train_rows(real, cache=context.cache), val_rows(real, cache=context.cache)
    labeller = load_segmenter(context.path("segment", "labeller"), context.fabric)
    trained = {
        name: train_generator(
            name,
            settings.options("generators", name),
            train,
            val,
            folder.path / "models" / name,
            classes=context.classes,
            size=settings.generate.size,
            labeller=labeller,
            seed=derive_seed(context.seed, "generator", name),
            fabric=context.fabric,
        )
        for name in sorted(settings.generators)
    }
    samples = synthesize(
        trained,
        train,
        folder.path / "samples",
        classes=context.classes,
        settings=settings.generate,
        seed=derive_seed(context.seed, "samples"),
    )
    return {"samples": samples.sha256}


def label_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Give synthetic images their masks, and read real ones in the same way."""
    from terraloom.calibration import told
    from terraloom.dataset.rows import val_rows
    from terraloom.labelling import label_samples, measure_yardstick
    from terraloom.segmenting import CALIBRATION

    labeller, labeller_sha256 = labellers(context, folder.path)
    if labeller.looks > 1:
        found = told(read_json(folder.path / CALIBRATION))
        console.print(f"  {labeller.looks} looks together: {found}", soft_wrap=True)
    samples, labels = label_samples(
        context.table("generate", "samples"),
        labeller,
        folder.path,
        classes=context.classes,
        settings=context.settings.label,
        labeller_sha256=labeller_sha256,
    )
    yardstick = measure_yardstick(
        val_rows(context.table("build", "samples"), cache=context.cache),
        labeller,
        context.settings.generate.size,
        settings=context.settings.label,
        seed=derive_seed(context.seed, "labels"),
    ).save(folder.path)
    return {
        "samples": samples.sha256,
        "labels": labels.sha256,
        "yardstick": sha256_of(yardstick),
    }


def caption_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Write captions for every sample, checked where a model writes them."""
    from terraloom.captioners._face import ModelCaptioner
    from terraloom.captioning import REPAIRS, caption_samples
    from terraloom.repairing import Care, claims_check, summarise_repairs

    settings = context.settings.caption
    captioner = context.captioner
    asks = isinstance(captioner, ModelCaptioner)
    care = None
    if asks:
        care = Care(
            claims_check(context.classes),
            settings.repair_rounds,
            context.built_captioner("template"),
            settings.contradicted,
            settings.failed,
        )
    options = member_settings(context.settings, "captioners", settings.captioner)
    digest = sha256_of_value(
        {
            settings.captioner: options.model_dump(mode="json"),
            **(settings.model_dump(mode="json") if asks else {}),
        }
    )
    outputs, repairs = {}, {}
    for kind, samples in samples_by_kind(context).items():
        table = caption_samples(
            samples,
            captioner,
            folder.path / kind,
            settings_sha256=digest,
            description=f"captioning {kind} samples",
            care=care,
        )
        outputs[kind] = table.sha256
        if asks:
            found = summarise_repairs(Table.open(folder.path / REPAIRS / kind).batches())
            repairs[kind] = found
            _tell_repairs(kind, found)
    if asks:
        write_json(folder.path / "repairs.json", repairs)
    return outputs


def _tell_repairs(kind: str, found: Mapping[str, Any]) -> None:
    """One line on what came of a model's captions, and one where some could not be had."""

    def percent(name: str) -> str:
        rate = found[f"{name}_rate"]
        return "not checked" if rate is None else f"{100 * rate:.2f} %"

    console.print(
        f"  {kind}: {found['asked']:,} captions asked for; contradicted before repair "
        f"{percent('contradicted_before')}, after it {percent('contradicted_after_repair')}, "
        f"replaced {percent('replaced')}",
        soft_wrap=True,
    )
    if found["failed"] or found["failed_rewrites"]:
        console.print(
            f"[yellow]  {found['failed']:,} captions could not be had, and "
            f"{found['failed_rewrites']:,} rewrites[/]: see caption/errors/{kind}; --retry-failed "
            "asks for them again",
            soft_wrap=True,
        )
