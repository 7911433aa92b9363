"""How far a verdict on a caption can be trusted, and what it costs.

    python benchmarks/claims.py gold [--held-back]   reader against claims annotated by hand
    python benchmarks/claims.py mutations [MASKS]    true captions, and captions made false
    python benchmarks/claims.py aras                 verdicts on the published captions at hand
    python benchmarks/claims.py speed                captions per second on one core

`gold` and `aras` need the shared captions (TERRALOOM_SHARED_DATA); `speed` takes them where they
are. Run from the root of the repository: gold, oracle and mutations are those of the tests.
"""

import argparse
import csv
import os
import random
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
    with (SHARED / "captions" / "aras400k_rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("Tree", "Shrub", "Grass", "Crop", "Built-up", "Barren", "Water")
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
    commands.add_parser("speed")
    given = parser.parse_args()
    match given.command:
        case "gold":
            gold(given.held_back)
        case "mutations":
            mutated(given.masks)
        case "aras":
            aras()
        case _:
            speed()


if __name__ == "__main__":
    main()
