"""Segmenters that look at pixels, at their neighbourhood, or at whole tiles."""

import pytest
from tests.prediction.drawn_scenes import NearNetwork

from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe, TrainedSegmenter, train_segmenter
from terraloom.testing import colour_labeller, tiny_training, toy_rows


@pytest.fixture(scope="session")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="session")
def colours(fabric):
    """A segmenter that looks at single pixels."""
    return colour_labeller(fabric)


@pytest.fixture(scope="session")
def unet(tmp_path_factory, fabric):
    """A small U-Net that has learnt the toy colours for a few seconds."""
    training = tiny_training(images=400, batch_size=8, learning_rate=5e-3, ema=0.9)
    return train_segmenter(
        *toy_rows(8, 4),
        Recipe("unet", {}, "small", 4, training),
        tmp_path_factory.mktemp("unet"),
        seed=0,
        fabric=fabric,
        description="a test",
    )


@pytest.fixture(scope="session")
def near(fabric):
    return TrainedSegmenter(NearNetwork().eval(), fabric, 4, {})
