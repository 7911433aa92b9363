"""How far a verdict on a caption can be trusted, and what it costs.

    python benchmarks/claims.py gold [--held-back]   reader against claims annotated by hand
    python benchmarks/claims.py mutations [MASKS]    true captions, and captions made false
    python benchmarks/claims.py aras                 verdicts on the published captions at hand
    python benchmarks/claims.py free-form            those captions, made false in one place
    python benchmarks/claims.py speed                captions per second on one core

`gold`, `aras` and `free-form` need the shared captions (TERRALOOM_SHARED_DATA); `speed` takes them
where they are. Run from the root of the repository: gold, oracle and mutations are the tests'.
"""

import argparse
import csv
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.claims.gold import WRITERS, compare, gold_captions, key_of_gold, key_of_read
from tests.claims.masks import drawn_mask
from tests.claims.mutations import mutations
from tests.claims.oracle import MaskOracle

from terraloom.captioners.template import Settings, TemplateCaptioner
from terraloom.claims import VERDICTS, check_caption, read_claims
from terraloom.classes import preset
from terraloom.facts import measure_facts

SEVEN = preset("worldcover7")
SHARED = Path(os.environ.get("TERRALOOM_SHARED_DATA", "shared/data"))
REPEATS = 5


def told(name: str, counts: Counter[str]) -> None:
    right, read = counts["right"], counts["right"] + counts["wrong"]
    gold = right + counts["missed"]
    print(
        f"{name:12} gold {gold:4}  read {read:4}  "
        f"precision {100 * right / max(read, 1):5.1f}  recall {100 * right / max(gold, 1):5.1f}"
    )


def gold(held_back: bool) -> None:
    """Precision and recall by corpus, by kind, and of all."""
    total: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {}
    hedges = agreed = exact = captions_read = 0
    for corpus in ("rsicd", "sydney", "aras", "own"):
        captions = [c for c in gold_captions(corpus, SHARED) if c.held_back == held_back]
        read = [read_claims(c.text, SEVEN) for c in captions]
        counts = compare(captions, read, SEVEN)
        total += counts
        told(corpus, counts)
        for caption, claims in zip(captions, read, strict=True):
            wanted = {key_of_gold(c): c["hedged"] for c in caption.claims}
            found = {key_of_read(c, SEVEN): c.hedged for c in claims}
            captions_read += 1
            exact += wanted.keys() == found.keys()
            for key in wanted.keys() | found.keys():
                counts_of_kind = by_kind.setdefault(key[0], Counter())
                outcome = (
                    "right"
                    if key in wanted and key in found
                    else ("wrong" if key in found else "missed")
                )
                counts_of_kind[outcome] += 1
            both = wanted.keys() & found.keys()
            hedges += len(both)
            agreed += sum(wanted[key] == found[key] for key in both)
    for kind, counts in by_kind.items():
        told(kind, counts)
    told("all", total)
    print(f"captions read without any error: {exact} of {captions_read}")
    print(f"hedges agree on {agreed} of {hedges} claims")


def mutated(num_masks: int) -> None:
    """Detection by kind of mutation, and false alarms on the captions before."""
    writer = TemplateCaptioner(Settings(), SEVEN, 11)
    made: Counter[str] = Counter()
    found: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    captions = alarms = 0
    for seed in range(num_masks):
        mask = drawn_mask(seed)
        facts = measure_facts(mask, SEVEN)
        rng = random.Random(seed)
        for caption in writer.write_facts(str(seed), facts):
            checked = check_caption(caption.text, facts, SEVEN)
            captions += 1
            alarms += checked.is_contradicted
            verdicts.update(claim.verdict for claim in checked.claims)
            for mutation in mutations(caption.text, MaskOracle(mask), rng):
                made[mutation.kind] += 1
                found[mutation.kind] += check_caption(mutation.text, facts, SEVEN).is_contradicted
    print(f"{captions} captions of {num_masks} masks; {alarms} false alarms")
    print(f"claims: {dict(verdicts)}")
    for kind, number in made.items():
        print(f"{kind:10} {found[kind]} of {number} found, {100 * found[kind] / number:.2f} %")
    print(f"all        {100 * found.total() / made.total():.2f} % of {made.total()}")


def aras() -> None:
    """Verdicts by writer, and every contradiction by kind; no text."""
    rows, names = published_rows()
    verdicts: dict[str, Counter[str]] = {}
    for row in rows:
        shares = [float(row[name]) / 100 for name in names]
        for writer in (name for name in row if name.startswith(WRITERS)):
            checked = check_caption(row[writer], shares, SEVEN, step=0.01)
            counts = verdicts.setdefault(writer, Counter())
            counts.update(c.verdict for c in checked.claims)
            counts["contradicted captions"] += checked.is_contradicted
            counts["name dominant"] += bool(checked.names_dominant)
            for c in checked.contradictions:
                print(f"{row['filename']} {writer}: {c.claim.kind} {c.claim.value}, {c.evidence}")
    for writer, counts in verdicts.items():
        print(writer, {v: counts[v] for v in (*VERDICTS, "contradicted captions", "name dominant")})


_DOMINATED = re.compile(r"(dominated by |predominantly )([^,.()]*)")
_TELLING = (
    ("grass", "grassland"), ("tree", "trees"), ("forest", "trees"), ("crop", "cropland"),
    ("agricultur", "cropland"),
)  # fmt: skip
_NOUN_OF = ("trees", "shrubs", "grassland", "cropland", "buildings", "bare ground", "water")


def free_form() -> None:
    """Published captions with one statement made false; the published shares judge.

    Class: what "dominated by" or "predominantly" tells becomes a class that covers at least 20
    points less than the largest. Amount: a quoted percentage moves by 30 points. Negation: "not"
    before "dominated by" the class that is the largest.
    """
    rows, names = published_rows()
    made: Counter[str] = Counter()
    found: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for row in rows:
        shares = [float(row[name]) / 100 for name in names]
        largest = _NOUN_OF[shares.index(max(shares))]
        for writer in (name for name in row if name.startswith(WRITERS)):
            text = row[writer]
            alarms["captions"] += 1
            alarms["flagged"] += check_caption(text, shares, SEVEN, step=0.01).is_contradicted
            changed: list[tuple[str, str]] = []
            match = _DOMINATED.search(text)
            told = match and next((n for w, n in _TELLING if w in match[2].lower()), None)
            if match and told == largest:
                changed += [
                    ("class", f"{text[: match.start(2)]}{noun}{text[match.end(2) :]}")
                    for noun, share in zip(_NOUN_OF, shares, strict=True)
                    if share <= max(shares) - 0.2
                ]
                if match[1].startswith("dominated"):
                    changed.append(
                        ("negation", f"{text[: match.start()]}not {text[match.start() :]}")
                    )
            for figure in re.finditer(r"(\d+)%", text):
                number = int(figure[1])
                other = number - 30 if number > 50 else number + 30
                changed.append(
                    ("amount", f"{text[: figure.start()]}{other}%{text[figure.end() :]}")
                )
            for kind, mutated_text in changed:
                made[kind] += 1
                checked = check_caption(mutated_text, shares, SEVEN, step=0.01)
                found[kind] += checked.is_contradicted
    print(f"{alarms['flagged']} of {alarms['captions']} captions flagged as published")
    for kind, number in made.items():
        print(f"{kind:10} {found[kind]} of {number} found, {100 * found[kind] / number:.1f} %")


def published_rows() -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Rows of the published captions and the columns of their class percentages."""
    path = SHARED / "captions" / "aras400k_rows.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, ("Tree", "Shrub", "Grass", "Crop", "Built-up", "Barren", "Water")


def speed() -> None:
    """Medians of the processor's time over repeats, on one core."""
    writer = TemplateCaptioner(Settings(), SEVEN, 11)
    told_of = [
        (caption.text, facts)
        for seed in range(300)
        for facts in [measure_facts(drawn_mask(seed), SEVEN)]
        for caption in writer.write_facts(str(seed), facts)
    ]
    measure("read, template", lambda: [read_claims(text, SEVEN) for text, _ in told_of])
    measure("read and check, template", lambda: [check_caption(*a, SEVEN) for a in told_of])
    if (SHARED / "captions" / "rsicd.json").exists():
        import json

        images = json.loads((SHARED / "captions" / "rsicd.json").read_text(encoding="utf-8"))
        texts = [text for image in images[:600] for text in image["captions"]]
        measure("read, RSICD", lambda: [read_claims(text, SEVEN) for text in texts])


def measure(name: str, work: Any) -> None:  # noqa: ANN401 - a callable that returns a list
    """Prints how many items a second `work` makes."""
    rates = []
    for _ in range(REPEATS):
        start = time.process_time()
        done = len(work())
        rates.append(done / (time.process_time() - start))
    print(f"{name:26} {median(rates):8.0f} captions/s ({min(rates):.0f} … {max(rates):.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("gold").add_argument("--held-back", action="store_true")
    commands.add_parser("mutations").add_argument("masks", type=int, nargs="?", default=2000)
    commands.add_parser("aras")
    commands.add_parser("free-form")
    commands.add_parser("speed")
    given = parser.parse_args()
    match given.command:
        case "gold":
            gold(given.held_back)
        case "mutations":
            mutated(given.masks)
        case "aras":
            aras()
        case "free-form":
            free_form()
        case _:
            speed()


if __name__ == "__main__":
    main()
