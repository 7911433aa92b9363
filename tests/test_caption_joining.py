"""Captioners of many chains, judged together: each place once per seed of the chain."""

import numpy as np
import pytest

from terraloom.caption_floors import CEILING, RANDOM
from terraloom.caption_joining import CaptionChain, join_captions
from terraloom.caption_statistics import SUMS
from terraloom.joining import ChainRuns

FOLDS, SEEDS, CAPTIONERS, PLACES = 3, 2, 2, 4
SUPPORTED, CONTRADICTED = SUMS.index("supported"), SUMS.index("contradicted_claims")


def sums(supported, contradicted):
    found = np.ones(len(SUMS))
    found[SUPPORTED], found[CONTRADICTED] = supported, contradicted
    return found.tolist()


def chain(fold, seed, arms, missing=(), *, ceiling=True):
    random = np.random.default_rng([fold, seed])
    cells = []
    kinds = {"real": "control", RANDOM: "floor"} | ({CEILING: "ceiling"} if ceiling else {})
    for arm in [*arms, *(name for name in kinds if name not in arms)]:
        for captioner in range(CAPTIONERS):
            places = {
                f"place-{fold}-{place}": sums(
                    float(random.integers(5, 9)) + 40 * (arm == "real+both"),
                    float(random.integers(2, 6)),
                )
                for place in range(PLACES)
            }
            cells.append(
                {
                    "arm": arm, "kind": kinds.get(arm, "arm"), "seed": captioner, "rows": 9,
                    "images": 8, "best_images": 8, "captions": PLACES, "redundancy": 0.25,
                    "normalised": 0.5, "places": places, "fold": fold, "chain": seed,
                }
            )  # fmt: skip
    rows = {arm: 10 + fold for arm in arms}
    design = {
        "arms": list(arms), "seeds": CAPTIONERS, "images_per_cell": 8, "image_size": 64,
        "model": "small", "beams": 1, "train_rows": rows, "train_captions": rows,
        "rows_without_caption": dict.fromkeys(arms, 0),
        "train_sizes": {arm: ["64 × 64"] for arm in arms}, "val_rows": 4,
        "test_images": PLACES, "test_images_without_reference": 1,
        "references_per_image": [4 + fold, 5 + fold],
        "writers": {"real": {"template": ["mask"]}},
        "compass": {"real": fold == 1, "synthetic": False},
    }  # fmt: skip
    told = dict.fromkeys(missing, "it has no synthetic row to train on")
    return CaptionChain(ChainRuns(f"fold-{fold}-seed-{seed}", cells, rows, told), design)


def every(arms, lacking=None, **options):
    return [
        chain(fold, seed, [a for a in arms if (fold, seed) != lacking or a == "real"],
              [a for a in arms if a != "real"] if (fold, seed) == lacking else (), **options)
        for seed in range(SEEDS) for fold in range(FOLDS)
    ]  # fmt: skip


def row_of(results, arm):
    return next(row for row in results["table"] if row["arm"] == arm)


def test_folds_make_up_a_run_and_captioners_of_a_chain_are_summed():
    chains = every(["real", "real+both"])
    results = join_captions(chains, draws=200, seed=1)
    row = row_of(results, "real")
    assert row["runs"] == SEEDS
    assert row["captions"] == SEEDS * FOLDS * CAPTIONERS * PLACES
    assert row["rows"] == 11
    expected = []
    for seed in range(SEEDS):
        own = np.sum(
            [
                values
                for c in chains
                for cell in c.runs.cells
                if cell["arm"] == "real" and cell["chain"] == seed
                for values in cell["places"].values()
            ],
            axis=0,
        )
        expected.append(own[SUPPORTED] / (own[SUPPORTED] + own[CONTRADICTED]))
    assert row["per_run"]["claim_precision"] == pytest.approx(expected, abs=1e-4)
    assert results["test_places"] == FOLDS * PLACES
    assert len(results["cells"]) == 2 * SEEDS * FOLDS * CAPTIONERS
    assert [r["arm"] for r in results["table"]] == ["real", "real+both", RANDOM, CEILING]


def test_a_planted_gain_is_found_and_the_design_told():
    results = join_captions(every(["real", "real+both"]), draws=400, seed=1)
    verdict = next(v for v in results["verdicts"] if v["figure"] == "claim_precision")
    assert (verdict["arm"], verdict["verdict"]) == ("real+both", "helps")
    design = results["design"]
    assert (design["folds"], design["seeds"], design["captioner_seeds"]) == (3, 2, 2)
    assert (design["test_images"], design["test_images_without_reference"]) == (12, 3)
    assert design["references_per_image"] == [4, 7]
    assert design["compass"] == {"real": True, "synthetic": False}


def test_where_curation_kept_nothing_captioners_learn_from_real_rows_alone():
    results = join_captions(every(["real", "real+both", "synthetic"], (1, 0)), draws=200, seed=1)
    assert results["missing_arms"] == ["synthetic"]
    assert results["design"]["arms"] == ["real", "real+both"]
    assert results["real_alone"] == {"real+both": ["fold-1-seed-0"]}
    assert row_of(results, "real+both")["kind"] == "arm"
    assert row_of(results, "real+both")["runs"] == SEEDS


def test_a_ceiling_that_one_fold_lacks_is_left_out():
    chains = every(["real"])
    chains[0] = chain(0, 0, ["real"], ceiling=False)
    results = join_captions(chains, draws=200, seed=1)
    assert [row["arm"] for row in results["table"]] == ["real", RANDOM]
