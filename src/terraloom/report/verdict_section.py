"""The first section: verdict, table, differences, and what weakens them."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.arms import is_control
from terraloom.ledger import LEDGER_NAME, count_looks
from terraloom.report import benchmark_figures, tables
from terraloom.report.confusion_section import confusion_section
from terraloom.report.findings import APART, outsiders, strangers
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import (
    Block,
    FigureView,
    ListView,
    Section,
    TextView,
    VerdictView,
    missing,
)
from terraloom.report.wording import count, listed, percent, plural

_FEW_PLACES: Final = 20
_SEEDS_SHOWN: Final = 3
_SEEDS_CLAIMED: Final = 5
_CHAINS_CLAIMED: Final = 2
_UNLEARNED: Final = 0.01
_TOUCHING_M: Final = 100.0


def verdict_section(files: ProjectFiles) -> Section:
    """The answer first: verdict, arms with intervals, caveats, differences, curves."""
    title = "Does the synthetic data help?"
    results = files.results
    if results is None:
        return Section("verdict", title, (missing("benchmark", "verdict"),))
    if not results["verdicts"]:
        title = "How well do real rows teach?"
    scopes = list(dict.fromkeys(row["architecture"] for row in results["table"]))
    first = scopes[0]
    blocks: list[Block] = [_verdict(results, files, first)]
    if results.get("missing_arms"):
        blocks.append(TextView(f"Arms left out: {_left_out(results)}.", "warning"))
    if results.get("real_alone"):
        blocks.append(TextView(real_alone(results), "warning"))
    blocks.append(tables.arms_table(results, first))
    rows = [
        row
        for row in results["differences"]
        if row["metric"] == "f1" and row["architecture"] == first
    ]
    if rows:
        blocks += [
            FigureView(
                "paired-differences",
                "Paired differences of macro F1",
                "Forest plot; the same figures stand in the table below.",
                benchmark_figures.paired_differences(rows),
                (tables.RESULTS,),
                (
                    "Lines: 95 % intervals. An arm helps where every interval against a control "
                    "lies right of zero. Grey: differences too small for this design to detect "
                    "four times in five.",
                ),
            ),
            tables.differences_table(results, first),
        ]
    if results.get("questions"):
        blocks.append(tables.questions_table(results, first))
    if results.get("architectures"):
        blocks.append(tables.architectures_table(results["architectures"]))
    if any((row.get("f1_spread") or {}).get("between") is not None for row in results["table"]):
        blocks.append(tables.spread_table(results, first))
    blocks += [
        ListView("What this verdict rests on", tuple(_design(results)), (tables.RESULTS,)),
        *_cautions(results, files),
    ]
    per_class = _class_blocks(results, first)
    curves = _curves(files, results)
    confusions = confusion_section(files)
    extra = [_scope_section(results, scope) for scope in scopes[1:]]
    return Section(
        "verdict",
        title,
        tuple(blocks),
        (
            Section("verdict-classes", "Per class", tuple(per_class)),
            confusions,
            Section("verdict-curves", "Validation curves", tuple(curves)),
            *extra,
        ),
    )


def _left_out(results: Mapping[str, Any]) -> str:
    """Arms without rows, with the reason where it was kept."""
    reasons = results.get("missing_because", {})
    return "; ".join(
        f"{arm} ({reasons[arm]})" if arm in reasons else f"{arm} (no synthetic row to train on)"
        for arm in results["missing_arms"]
    )


def real_alone(results: Mapping[str, Any]) -> str:
    """Arms that curation left without a sample in some chains of a cross-validation."""
    chains = results["design"]["folds"] * results["design"]["generator_seeds"]
    told = "; ".join(
        f"{arm} in {len(names)} of {chains} chains ({', '.join(names)})"
        for arm, names in results["real_alone"].items()
    )
    few = [
        f"{arm} rests on {plural(chains - len(names), 'chain')}"
        for arm, names in results["real_alone"].items()
        if 2 * len(names) > chains
    ]
    return (
        f"Curation kept no sample for {told}. There the arm trains on what is left, real rows "
        "alone, and takes over those runs: its difference from them is 0."
        + (f" What is said of {listed(few)}, whatever its interval." if few else "")
    )


def _verdict(results: Mapping[str, Any], files: ProjectFiles, first: str) -> VerdictView:
    design = results["design"]
    verdicts = results["verdicts"]
    word = next((v["verdict"] for v in verdicts if v["sentence"] == results["sentence"]), "")
    several = len({v["architecture"] for v in verdicts}) > 1
    arms = tuple(
        (v["architecture"] if several else "", v["verdict"], v["sentence"])
        for v in verdicts
        if v["sentence"] != results["sentence"]
    )
    rows = next(row for row in results["table"] if row["architecture"] == first)
    looks = count_looks(files.looks)
    facts = [
        (count(rows["runs"]), "runs per arm"),
        (count(design["test_places"]), "test places"),
        (count(design["test_pixels"]), "test pixels"),
        (count(design["images_per_cell"]), "training images per run"),
        (count(looks["looks"]), "looks at test"),
        (
            count(looks["recipes"]),
            "locked recipe" if looks["recipes"] == 1 else "locked recipes",
        ),
        (f"{percent(results['aa']['rate'])} %", "false alarms, A/A"),
    ]
    sources = (tables.RESULTS, LEDGER_NAME, "build/samples")
    owners = sorted({str(f["attribution"]) for f in files.source_files if f["attribution"]})
    data = "; ".join(owners) or "source not stated"
    return VerdictView(results["sentence"], word, arms, data, tuple(facts), sources)


def _design(results: Mapping[str, Any]) -> list[str]:
    """What the reader must know of the design to weigh the verdict."""
    design = results["design"]
    seeds, generators = design["segmenter_seeds"], design["generator_seeds"]
    architectures = design["architectures"]
    folds = design.get("folds", 1)
    items = [
        (f"{plural(folds, 'fold')} of places, each with " if folds > 1 else "")
        + f"{plural(seeds, 'segmenter seed')} nested in {plural(generators, 'generator seed')}, "
        f"{plural(len(architectures), 'architecture')} ({listed(architectures)}): the intervals "
        "hold the spread over test places and segmenter trainings"
        + (
            ", and none of the spread over generator trainings. Another generator run may "
            "land elsewhere."
            if generators < 2
            else " and generator trainings."
        ),
        f"Every arm saw {count(design['images_per_cell'])} training images at the same schedule; "
        "only the rows differ. The weights kept are those with the best macro F1 on val.",
        "A verdict holds against each control at once: helps, where every interval against a "
        "control lies above zero; hurts, where one lies below; otherwise no evidence.",
    ]
    if any(v["verdict"] == "no evidence" for v in results["verdicts"]):
        items.append(
            "No evidence is not evidence of no effect. An effect smaller than the one named "
            "in the sentence (2.8 standard errors of the paired difference) would be missed more "
            "often than one time in five."
        )
    first = results["table"][0]["architecture"]
    controls = {
        row["arm"]: row["f1"]["mean"]
        for row in results["table"]
        if row["architecture"] == first and is_control(row["arm"])
    }
    if len(controls) > 1:
        best = max(controls, key=lambda arm: controls[arm])
        items.append(
            f"The strongest control is {best}, macro F1 {percent(controls[best])} %; beating a "
            "weaker one alone counts for little."
        )
    absent = design["absent_classes"]
    if absent:
        items.append(
            f"Absent from the test truth: {listed(absent)}. A class absent from both truth and "
            "prediction is left out of the macro averages, so nothing is said about it; one "
            "that is predicted all the same counts as 0."
        )
    else:
        items.append("Every class is present in the test truth.")
    aa = results["aa"]
    items.append(
        f"A/A check: the arm {aa['arm']} against itself is told to help in "
        f"{percent(aa['rate'])} % of resamples (limit {percent(aa['limit'])} %)."
    )
    return items


def _cautions(results: Mapping[str, Any], files: ProjectFiles) -> list[Block]:
    """What weakens this particular run, where something does."""
    design = results["design"]
    found = []
    # Whole chains count for more than the segmenters that are nested in one of them.
    seeds = max(design["segmenter_seeds"], design["generator_seeds"])
    if seeds < _SEEDS_SHOWN:
        found.append(
            f"Fewer than {_SEEDS_SHOWN} seeds: these figures should not be shown as a result."
        )
    elif seeds < _SEEDS_CLAIMED:
        found.append(f"{plural(seeds, 'seed')} illustrate; a claim needs {_SEEDS_CLAIMED}.")
    if design["generator_seeds"] < _CHAINS_CLAIMED:
        found.append(
            "One generator seed: what is shown holds for these very samples. Another training of "
            "the generator may change the verdict, and no interval here says by how much."
        )
    if design["test_places"] < _FEW_PLACES:
        found.append(
            f"{plural(design['test_places'], 'test place')} only: bootstrap intervals over so few "
            "places tend to be too narrow, and rare classes hang on one or two of them."
        )
    if results["aa"]["rate"] > results["aa"]["limit"]:
        found.append(
            "The A/A rate is above its limit: the intervals are too narrow, so read a verdict of "
            "helps with suspicion."
        )
    cells = results["cells"]
    found += _weak_points(results, files)
    late = [cell for cell in cells if cell["best_images"] >= cell["images"]]
    if late:
        found.append(
            f"In {len(late)} of {plural(len(cells), 'run')} the best val figure came at the last "
            "check: training had not levelled off, so a larger budget may change the order."
        )
    looks = count_looks(files.looks)
    if looks["recipes"] > 1:
        found.append(
            f"Test was looked at under {looks['recipes']} locked recipes: later ones may have been "
            "chosen with test in mind."
        )
    if looks["looks"] > looks["cells"]:
        found.append("Some cells looked at test more than once (runs that were cut off).")
    if not files.looks:
        found.append("The ledger of looks at test is empty or gone, so nothing vouches for it.")
    if not found:
        return []
    sources = (
        tables.RESULTS, LEDGER_NAME, "build/leaks.json", "curate/funnel.json",
        tables.SUMMARY,
    )  # fmt: skip
    return [ListView("What weakens it", tuple(found), sources, "warning")]


def _weak_points(results: Mapping[str, Any], files: ProjectFiles) -> list[str]:
    """Weaknesses that other stages' figures show."""
    found = []
    scope = results["table"][0]["architecture"]
    own = [row for row in results["table"] if row["architecture"] == scope]
    unlearned = [
        land
        for land in results["design"]["classes"]
        if land not in results["design"]["absent_classes"]
        and all((row["f1_per_class"].get(land) or 0) < _UNLEARNED for row in own)
    ]
    if unlearned:
        found.append(
            f"No arm learned {listed(unlearned)} (F1 below {percent(_UNLEARNED)} % in every arm): "
            "the budget or the data is too small to say anything about it."
        )
    gap = ((files.json("build/leaks.json") or {}).get("nearest_m") or {}).get("train-test")
    if gap is not None and gap < _TOUCHING_M:
        found.append(
            f"Train and test patches lie next to each other (smallest gap {gap:.0f} m): close "
            "pixels are alike, so the test figures of every arm may be flattering."
        )
    funnel = files.json("curate/funnel.json") or {}
    composition = files.scores.get("composition")
    for origin, entry in funnel.items():
        if entry["made"] and entry["kept"] == entry["made"]:
            found.append(
                f"Curation rejected none of the {count(entry['made'])} {origin} samples: its rules "
                "filter nothing there."
            )
    for origin in strangers(composition):
        kept = funnel.get(origin, {}).get("kept")
        told = "" if kept is None else f", and {count(kept)} of them were kept"
        found.append(
            f"The {origin} samples are further from the real class shares than shuffled classes "
            f"are (section Composition){told}."
        )
    apart = outsiders(files.scores.get("embedding"))
    if apart:
        found.append(
            f"Samples that lie apart from the real ones in the labeller's features (silhouette "
            f"above {APART}): {listed(apart)}."
        )
    return found


def _class_blocks(results: Mapping[str, Any], scope: str) -> list[Block]:
    rows = [row for row in results["per_class"] if row["architecture"] == scope]
    blocks: list[Block] = []
    if rows:
        blocks += [
            FigureView(
                f"class-differences-{scope}" if scope != "all" else "class-differences",
                "F1 per class, arm minus the best control",
                "Dot plots with intervals; the same figures stand in the table below.",
                benchmark_figures.class_differences(rows, results["design"]["classes"]),
                (tables.RESULTS,),
                ("Filled: different from zero after Holm's correction. Hollow: no evidence.",),
            ),
            tables.class_differences_table(results, scope),
        ]
    blocks.append(tables.class_scores_table(results, scope))
    return blocks


def _curves(files: ProjectFiles, results: Mapping[str, Any]) -> list[Block]:
    arms = results["design"]["arms"]
    named = sorted(
        (cell for cell in files.cells if cell.history and cell.arm in arms),
        key=lambda cell: arms.index(cell.arm),
    )
    if not named:
        return [missing("benchmark", "training history of the runs")]
    return [
        FigureView(
            "validation-curves", "Macro F1 on val while the arms trained",
            "Line plot of validation macro F1 against training images, by arm.",
            benchmark_figures.validation_curves(named), ("benchmark/cells/*/state.json",),
            (
                "One line per run, of many runs their mean. Val steers the choice of weights, so "
                "it is no estimate of test.",
            ),
        )
    ]  # fmt: skip


def _scope_section(results: Mapping[str, Any], scope: str) -> Section:
    blocks: tuple[Block, ...] = (
        tables.arms_table(results, scope),
        tables.differences_table(results, scope),
        tables.class_differences_table(results, scope),
        tables.class_scores_table(results, scope),
    )
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in scope)
    return Section(f"verdict-{slug}", f"Architecture {scope}", blocks)
