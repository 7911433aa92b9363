"""True captions are not flagged; one statement made false is."""

import random
from collections import Counter

import pytest
from tests.claims.masks import drawn_mask
from tests.claims.mutations import mutations
from tests.claims.oracle import MaskOracle

from terraloom.captioners.template import Settings, TemplateCaptioner
from terraloom.claims import check_caption
from terraloom.classes import ClassTable, LandClass, preset
from terraloom.facts import Facts, measure_facts

SEVEN = preset("worldcover7")
THREE = ClassTable(
    classes=(
        LandClass(name="built-up", colour=(1, 0, 0)),
        LandClass(name="vegetation", colour=(2, 0, 0)),
        LandClass(name="band_4", colour=(3, 0, 0)),
    )
)
NUM_MASKS = 240


@pytest.fixture(scope="module")
def told() -> list[tuple[MaskOracle, Facts, list[str]]]:
    writer = TemplateCaptioner(Settings(), SEVEN, 11)
    found = []
    for seed in range(NUM_MASKS):
        mask = drawn_mask(seed)
        facts = measure_facts(mask, SEVEN)
        texts = [caption.text for caption in writer.write_facts(str(seed), facts)]
        found.append((MaskOracle(mask), facts, texts))
    return found


def test_true_captions_are_not_contradicted(
    told: list[tuple[MaskOracle, Facts, list[str]]],
) -> None:
    checked = [check_caption(t, facts, SEVEN) for _, facts, texts in told for t in texts]
    assert sum(c.is_contradicted for c in checked) <= 0.01 * len(checked)
    verdicts = Counter(claim.verdict for c in checked for claim in c.claims)
    assert verdicts["supported"] >= 0.98 * verdicts.total()
    assert verdicts.total() >= 4 * len(checked)


@pytest.mark.parametrize("classes", [preset("worldcover11"), THREE], ids=["eleven", "three"])
def test_captions_of_other_class_tables_are_not_contradicted(classes: ClassTable) -> None:
    writer = TemplateCaptioner(Settings(), classes, 5)
    checked = []
    for seed in range(500, 580):
        facts = measure_facts(drawn_mask(seed, num_classes=len(classes)), classes, compass=False)
        checked += [
            check_caption(caption.text, facts, classes)
            for caption in writer.write_facts(str(seed), facts)
        ]
    assert [c.contradictions for c in checked if c.is_contradicted] == []
    assert sum(bool(c.claims) for c in checked) >= 0.97 * len(checked)


def test_nearly_every_false_statement_is_found(
    told: list[tuple[MaskOracle, Facts, list[str]]],
) -> None:
    made: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for number, (mask, facts, texts) in enumerate(told):
        rng = random.Random(number)
        for text in texts:
            for mutation in mutations(text, mask, rng):
                made[mutation.kind] += 1
                found[mutation.kind] += check_caption(mutation.text, facts, SEVEN).is_contradicted
    assert min(made[kind] for kind in ("class", "place", "amount", "negation", "shape")) >= 100
    assert found.total() >= 0.98 * made.total()
    for kind, number in made.items():
        assert found[kind] >= 0.95 * number, kind
