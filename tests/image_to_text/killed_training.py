"""A training that is long enough to be killed; run as a script with its folder."""

import sys
from pathlib import Path

from terraloom.image_to_text.training import train_captioner
from terraloom.learning import loop
from terraloom.learning.device import make_fabric

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.image_to_text.toy import settings, toy_captioned

if __name__ == "__main__":
    loop._CHECKPOINT_EVERY_S = 0.01
    train, val = toy_captioned()
    chosen = settings("real", training={"images": 240, "checks": 3})
    train_captioner(
        train, val, chosen, Path(sys.argv[1]), seed=1, fabric=make_fabric(1), description="killed"
    )
