"""Several looks at one image: means, agreement, and a single look that changes nothing."""

from dataclasses import dataclass

import numpy as np
import pytest

from terraloom.ensemble import Ensemble
from terraloom.learning.device import make_fabric
from terraloom.testing import colour_labeller


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


def test_an_ensemble_without_a_member_is_refused():
    with pytest.raises(ValueError, match="needs a member"):
        Ensemble(()).look(IMAGES)
