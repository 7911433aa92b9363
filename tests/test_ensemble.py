"""Several looks at one image: means, agreement, and a single look that changes nothing."""

from dataclasses import dataclass

import numpy as np
import pytest

from terraloom.ensemble import Ensemble
from terraloom.learning.device import make_fabric
from terraloom.segmenting import TrainedSegmenter
from terraloom.testing import ColourNetwork, colour_labeller, toy_classes


@dataclass(frozen=True)
class Fixed:
    """Says the same whatever it sees, but for a tilt to the left."""

    chances: tuple[float, ...]
    tilt: float = 0.0
    num_classes: int = 3

    def probabilities(self, images):
        height, width = images[0].shape[:2]
        made = np.ones((len(images), 3, height, width), dtype=np.float32)
        made *= np.array(self.chances, dtype=np.float32)[None, :, None, None]
        made[:, 0] += self.tilt * np.arange(width, dtype=np.float32)
        return made


IMAGES = [np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8) for i in range(2)]


def test_one_labeller_says_what_it_says_alone():
    labeller = colour_labeller(make_fabric(1))
    chances, agreement = Ensemble((labeller,)).look(IMAGES)
    assert (chances == labeller.probabilities(IMAGES)).all()
    assert (agreement == 1).all()


def test_probabilities_are_averaged_and_agreement_counts_the_members_that_chose_the_same():
    members = (Fixed((0.6, 0.3, 0.1)), Fixed((0.5, 0.4, 0.1)), Fixed((0.1, 0.8, 0.1)))
    chances, agreement = Ensemble(members).look(IMAGES)
    np.testing.assert_allclose(chances[0, :, 0, 0], [0.4, 0.5, 0.1], rtol=1e-6)
    np.testing.assert_allclose(agreement, 1 / 3, rtol=1e-6)
    assert agreement.shape == (2, 32, 32)


def test_four_mirror_images_are_turned_back_before_they_are_averaged():
    tilted = Fixed((0.0, 0.0, 0.0), tilt=1.0)
    chances, _ = Ensemble((tilted,), flips=True).look(IMAGES)
    # Two views rise to the right and two to the left: flat on the mean.
    np.testing.assert_allclose(chances[:, 0], 15.5)


def test_a_labeller_that_sees_single_pixels_is_the_same_under_flips():
    labeller = colour_labeller(make_fabric(1))
    one, agreement = Ensemble((labeller,), flips=True).look(IMAGES)
    np.testing.assert_allclose(one, labeller.probabilities(IMAGES), atol=1e-6)
    assert (agreement == 1).all()


def test_flips_average_exactly_what_the_four_views_say():
    """A network that sees its neighbours: each view is turned back, added up and divided."""

    class Leaning(ColourNetwork):
        def forward(self, images):
            logits = super().forward(images)
            return logits + logits.roll((1, 2), dims=(2, 3))

    classes = toy_classes()
    labeller = TrainedSegmenter(Leaning(classes).eval(), make_fabric(1), len(classes), {})
    views = []
    for axes in ((), (1,), (2,), (1, 2)):
        turned = [np.flip(image, tuple(axis - 1 for axis in axes)).copy() for image in IMAGES]
        seen = labeller.probabilities(turned)
        views.append(np.flip(seen, tuple(axis + 1 for axis in axes)))
    chances, agreement = Ensemble((labeller,), flips=True).look(IMAGES)
    assert (chances == (views[0] + views[1] + views[2] + views[3]) / np.float32(4)).all()
    chosen = chances.argmax(axis=1)
    votes = sum((view.argmax(axis=1) == chosen).astype(int) for view in views)
    assert (agreement == (votes / 4).astype(np.float32)).all()
    assert 0 < agreement.mean() < 1


def test_looks_are_members_times_views():
    member = Fixed((0.6, 0.3, 0.1))
    assert Ensemble((member,)).looks == 1
    assert Ensemble((member, member)).looks == 2
    assert Ensemble((member, member), flips=True).looks == 8


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_temperature_of_the_mean_changes_how_sure_it_is_and_nothing_else(temperature):
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.full(4, 0.3), (2, 32, 32)).transpose(0, 3, 1, 2)

    class Drawn:
        num_classes = 4

        def probabilities(self, images):
            return chances.astype(np.float32)

    seen, agreement = Ensemble((Drawn(),), temperature=temperature).look(IMAGES)
    assert seen.dtype == np.float32
    assert (seen.argmax(axis=1) == chances.argmax(axis=1)).all()
    assert (agreement == 1).all()
    expected = chances ** (1 / temperature)
    np.testing.assert_allclose(seen, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    if temperature == 1.0:
        assert (seen == chances.astype(np.float32)).all()


def test_logits_are_finite_where_a_probability_is_rounded_to_nothing():
    ensemble = Ensemble((Fixed((1.0, 0.0, 0.0)),), temperature=2.0)
    assert np.isfinite(ensemble.logits(IMAGES)).all()
    seen, _ = ensemble.look(IMAGES)
    np.testing.assert_allclose(seen[:, 0], 1, atol=1e-6)


def test_an_ensemble_without_a_member_is_refused():
    with pytest.raises(ValueError, match="needs a member"):
        Ensemble(()).look(IMAGES)
