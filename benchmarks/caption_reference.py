"""Expected values of the caption metrics, from the implementations that papers report.

    python benchmarks/caption_reference.py captions captions.json
    python benchmarks/caption_reference.py values captions.json tests/caption_metrics/expected.json
    python benchmarks/caption_reference.py rate --images 100000

`captions` writes captions of our own: the template captioner on random masks, changed in ways that
metrics must tell (words shuffled, cut, repeated, another image's), and sentences by hand that are
hard to cut into tokens. `values` needs Java and a Python with pycocoevalcap (any version of it; it
wants neither of terraloom) and asks it for tokens, BLEU, ROUGE-L and CIDEr-D, and its METEOR 1.5
with exact and stem matches and terraloom's function words, its search for alignments wide (20,000
partial ones) and as it comes (40), and all as it comes (WordNet, paraphrases, its own words).
`rate` times terraloom's own metrics.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SEED = 20261126
# Candidate, then its references. Nothing here is quoted from a data set.
BY_HAND: list[list[str]] = [
    ["Trees cover 30% of the scene, grass 12.5 % and water 0.5%.",
     "About 30 % of the scene is tree cover; 12.5% is grass.", "Grass, trees & a little water."],
    ["Built-up land in the north-west; cropland (mostly) south.",
     "Cropland lies in the south and built-up land in the north-west.", "A built-up corner (NW)."],
    ["Don't mistake shrubs for trees: it's not the same, isn't it?",
     "Shrubs aren't trees, and they're not the same.", "It isn't tree cover, it's shrubland!"],
    ["The farmer's fields and the farmers' houses cannot be seen.",
     "Farmers can not be seen; their fields can.", "No houses, but the farmer's fields."],
    ['"Quoted" words and \'single quoted\' ones — with dash – and minus -- double.',
     "Words in quotes, with a dash - or two.", "“Quoted” words and ‘single quoted’ ones"],
    ["About 1,200 ha, 3.5 km² and 1/2 of it... roughly 2/3!",
     "Roughly 2/3 of 3.5 km² (1,200 ha).", "½ of about 1,200 ha"],
    ["trees/grass and and/or mixed & merged + plus = equals", "trees/grass are mixed",
     "mixed and/or merged"],
    ["Wait!! What?! Really??", "Wait! What? Really?", "Really?? Wait!!"],
    ["The U.S. has oaks, e.g. big ones, 5 m. tall etc.", "Big oaks of the U.S., 5 m tall.",
     "Oaks etc. in the U.S."],
    ["[square] {curly} <b>bold</b> *star* #hash @at ~tilde", "curly {square} star, bold",
     "a #hash and a *star*"],
    ["Straße über naïve café água 森林 water", "água und Straße über 森林", "naïve café water"],
    ["10°C at 45°N, 5×5 m and $4.50", "45°N and 10°C", "$4.50 for 5×5 m"],
    ["A 3D view of 2x2 blocks, 1990s houses, 20th century, 10-20% range 10–20 %",
     "2x2 blocks of 1990s houses", "A range of 10-20 % in 3D"],
    ["it’s a “smart” quote and one…", "it's a smart quote", "one smart quote ..."],
    ["  leading   and\ttab spaces  ", "leading tab and spaces", "spaces"],
    ["word", "word", "words"],
    ["tree", "many trees stand here", "trees"],
    ["the the the the the", "the trees of the north and the water", "the the"],
    ["", "Nothing is said of this.", "Something is."],
    ["...", "Only punctuation stands opposite.", "A full stop."],
    ["a b c d e", "e d c b a", "a c e"],
    ["one.two three,four five;six seven:eight 10:30 a.m.", "three four at 10:30 a.m.",
     "one.two seven eight"],
    ["They're we've I'll he'd I'm gonna", "they are gonna; I'm not", "we've all I'll want"],
    ["mid-1990s co-operate non-tree-cover -5 degrees +3", "-5 degrees in the mid-1990s",
     "+3 degrees, non-tree-cover"],
    ["100 % 100% ~50% >50% ≥20 % ≤5 %", "more than 50%, at most 5 %", "100% and ≥20 %"],
    ["ALL CAPS DON'T CAN'T", "all caps can't", "Don't!"],
    ["A: trees; B: none. C? D!", "A: trees, B: none", "trees"],
    ["watery forests and forested waters, water watering", "water and forest, forests water",
     "forested waters watering the forest"],
    ["the field the river the field the road the field", "the road the field the river",
     "the field the field the river the road the field the field"],
    ["northern fields near northerly rivers", "north of the river the field nears",
     "fields in the north, near rivers"],
]  # fmt: skip


def template_captions(images: int) -> list[list[str]]:
    """Six captions of each of some random masks, by the template captioner."""
    import numpy as np

    from terraloom.captioners._face import Scene
    from terraloom.captioners.template import Settings, TemplateCaptioner
    from terraloom.classes import preset

    classes = preset("worldcover7")
    writer = TemplateCaptioner(Settings(captions_per_image=6), classes, SEED)
    draw = np.random.default_rng(SEED)
    scenes = []
    for image in range(images):
        weights = draw.dirichlet(np.full(len(classes), 0.5))
        coarse = draw.choice(len(classes), size=(8, 8), p=weights).astype(np.uint8)
        labels = np.kron(coarse, np.ones((8, 8), dtype=np.uint8))
        scenes.append(Scene(f"mask{image}", None, labels, None, compass=True))
    return [[caption.text for caption in group] for group in writer.write(scenes)]


def changed(text: str, other: str, how: int, draw: random.Random) -> str:
    """A candidate that is worse than the caption it was made of, in one of several ways."""
    words = text.split()
    if how == 1:
        draw.shuffle(words)
    elif how == 2:
        words = words[: len(words) // 2]
    elif how == 3:
        words = [word for word in words for _ in range(draw.choice((1, 1, 2)))]
    elif how == 4:
        return other
    elif how == 5:
        return f"{text} {other}"
    return " ".join(words)


def write_captions(path: Path) -> None:
    from terraloom.caption_metrics.meteor import FUNCTION_WORDS

    draw = random.Random(SEED)
    groups = template_captions(36)
    rows = [
        [changed(group[0], groups[n - 1][0], n % 6, draw), *group[1 : 2 + n % 5]]
        for n, group in enumerate(groups)
    ]
    candidates, references = {}, {}
    for n, row in enumerate(rows + BY_HAND):
        key = f"template-{n:02}" if n < len(rows) else f"hand-{n - len(rows):02}"
        candidates[key], references[key] = row[0], row[1:]
    path.write_text(
        json.dumps(
            {
                "candidates": candidates,
                "references": references,
                "function_words": sorted(FUNCTION_WORDS),
            },
            ensure_ascii=False,
            indent=1,
        ),
        encoding="utf-8",
    )


class Meteor:
    """METEOR 1.5 as a process that is asked line by line."""

    def __init__(self, jar: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8",
        )  # fmt: skip

    def _ask(self, line: str, answers: int = 1) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return [self.process.stdout.readline().strip() for _ in range(answers)]

    def scores(self, candidates: list[str], references: list[list[str]]) -> dict[str, Any]:
        """Per caption the score, chunks and matches; the corpus's score."""
        counts = [
            self._ask(" ||| ".join(["SCORE", *group, candidate]))[0]
            for candidate, group in zip(candidates, references, strict=True)
        ]
        found = self._ask(" ||| ".join(["EVAL", *counts]), len(counts) + 1)
        return {
            "captions": [float(value) for value in found[:-1]],
            "corpus": float(found[-1]),
            "chunks": [float(line.split()[20]) for line in counts],
            "matches": [float(line.split()[21]) for line in counts],
        }


def write_values(path: Path, out: Path) -> None:
    import pycocoevalcap
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    given = json.loads(path.read_text(encoding="utf-8"))
    ids = sorted(given["candidates"])
    cut = PTBTokenizer().tokenize
    spoken = cut({key: [{"caption": given["candidates"][key]}] for key in ids})
    known = cut({key: [{"caption": text} for text in given["references"][key]] for key in ids})
    values: dict[str, Any] = {}
    bleu, captions = Bleu(4).compute_score(known, spoken)
    for order in range(4):
        values[f"bleu{order + 1}"] = {"corpus": bleu[order], "captions": captions[order]}
    for name, scorer in (("rouge_l", Rouge()), ("cider_d", Cider())):
        corpus, each = scorer.compute_score(known, spoken)
        values[name] = {"corpus": float(corpus), "captions": [float(value) for value in each]}
    jar = Path(pycocoevalcap.__path__[0]) / "meteor" / "meteor-1.5.jar"
    own_words = out.with_suffix(".words")
    own_words.write_text("\n".join(given["function_words"]) + "\n", encoding="utf-8")
    light = set(given["function_words"])

    def weight(reference: str) -> float:
        return sum(0.25 if word in light else 0.75 for word in reference.split())

    # Of equally good references METEOR takes the first and terraloom the shortest, which only the
    # corpus's value shows: with the shortest first, both are asked the same.
    asked = [spoken[key][0] for key in ids], [sorted(known[key], key=weight) for key in ids]
    restricted = ("-m", "exact stem", "-s", str(own_words.resolve()))
    values["meteor"] = Meteor(jar, *restricted, "-x", "20000").scores(*asked)
    values["meteor_beam_40"] = Meteor(jar, *restricted).scores(*asked)
    as_given = Meteor(jar, *restricted, "-x", "20000").scores(asked[0], [known[k] for k in ids])
    values["meteor_references_as_given"] = as_given
    values["meteor_whole"] = Meteor(jar, "-norm").scores(*asked)
    own_words.unlink()
    made = {
        "made_by": "benchmarks/caption_reference.py: pycocoevalcap, METEOR 1.5, Stanford PTB 3.4.1",
        "ids": ids,
        "candidates": given["candidates"],
        "references": given["references"],
        "tokens": {key: [spoken[key][0].split(), *map(str.split, known[key])] for key in ids},
        "values": values,
    }
    out.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def rate(images: int) -> None:
    from terraloom.caption_metrics import evaluate_captions

    draw = random.Random(SEED)
    pool = [text for group in template_captions(400) for text in group]

    def mixed() -> str:
        # Half of one caption and half of another: six hundred thousand differ, as a model's do.
        one, other = draw.choice(pool).split(), draw.choice(pool).split()
        return " ".join(one[: len(one) // 2] + other[len(other) // 2 :])

    ids = [str(image) for image in range(images)]
    candidates = {key: mixed() for key in ids}
    references = {key: [mixed() for _ in range(5)] for key in ids}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, used = time.perf_counter(), time.process_time()
    scores = evaluate_captions(candidates, references)
    print(
        json.dumps(
            {
                "images": images,
                "seconds": round(time.perf_counter() - start, 1),
                "processor_seconds": round(time.process_time() - used, 1),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "of_which_captions_mib": before // 1024,
                "words_per_caption": round(float(scores.bleu.length.mean()), 1),
                "corpus": {k: round(v, 4) for k, v in scores.corpus.items()},
            },
            indent=1,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    captions = tasks.add_parser("captions")
    captions.add_argument("out", type=Path)
    values = tasks.add_parser("values")
    values.add_argument("captions", type=Path)
    values.add_argument("out", type=Path)
    rates = tasks.add_parser("rate")
    rates.add_argument("--images", type=int, default=10_000)
    given = parser.parse_args()
    if given.task == "captions":
        write_captions(given.out)
    elif given.task == "values":
        write_values(given.captions, given.out)
    else:
        rate(given.images)


if __name__ == "__main__":
    sys.exit(main())
