"""Do captions name the class with the largest share? By hand-made captions."""

from types import SimpleNamespace

import pyarrow as pa

from terraloom.scorers.dominant import DominantScorer
from terraloom.testing import toy_classes


def score(shares, *texts):
    part = SimpleNamespace(rows=[{"shares": shares}], captions=[list(texts)])
    values = DominantScorer(toy_classes()).score(part)
    return values["names_dominant"][0], values["clear_dominant"][0]


def test_the_share_of_captions_that_name_the_dominant_class():
    shares = [0.7, 0.2, 0.1, 0.0]
    assert score(shares, "Open water.", "A tree stands here.") == (0.5, 1)
    assert score(shares, "Water and crop.", "Mostly water.") == (1, 1)
    assert score(shares, "A tree.", "Crop beside a tree.") == (0, 1)


def test_a_denial_names_nothing():
    assert score([0.7, 0.3, 0, 0], "There is no water here.") == (0, 1)


def test_a_narrow_lead_is_not_clear():
    assert score([0.40, 0.36, 0.24, 0], "Water.")[1] == 0
    assert score([0.41, 0.36, 0.23, 0], "Water.")[1] in (0, 1)
    assert score([0.42, 0.36, 0.22, 0], "Water.")[1] == 1


def test_a_small_largest_share_is_not_clear():
    assert score([0.34, 0.22, 0.22, 0.22], "Water.") == (1, 0)


def test_without_known_pixels_or_captions_there_is_nothing_to_say():
    assert score([0, 0, 0, 0], "Water.") == (None, None)
    assert score([1, 0, 0, 0]) == (None, None)


def test_the_summary_tells_clear_samples_apart():
    class Fake:
        def read(self, columns):
            return pa.table(
                {"names_dominant": [1.0, 0.0, 0.5, None], "clear_dominant": [1.0, 1.0, 0.0, None]}
            )

    summary = DominantScorer(toy_classes()).summarise(SimpleNamespace(scores={"real": Fake()}))
    assert summary["real"] == {
        "samples": 3, "named": 0.5, "clear_samples": 2, "clear_named": 0.5,
    }  # fmt: skip
