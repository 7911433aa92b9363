"""Figures that were published, typed once: shown beside this run's, never compared with them.

Sources: Çağlar and Temizel, arXiv 2603.09625, tables of the paper and of the authors' pages.
"""

from dataclasses import dataclass
from typing import Final

PAPER: Final = "Çağlar and Temizel, arXiv 2603.09625"


@dataclass(frozen=True)
class PublishedArm:
    """Mean of six architectures, in percent; None where the paper gives no figure."""

    arm: str
    """The arm of this product that trains on the same kinds of rows."""
    rows: str
    f1: float
    iou: float
    precision: float | None
    recall: float | None


ARMS: Final = (
    PublishedArm("real", "80,192 real", 76.49, 64.51, 76.60, 76.62),
    PublishedArm("synthetic", "300,000 unconditional", 74.79, 62.56, 77.74, 72.40),
    PublishedArm("real+conditional", "real + 80,000 conditional", 77.56, 65.86, None, None),
    PublishedArm("real+unconditional", "real + 300,000 unconditional", 77.66, 65.98, 79.92, 75.77),
    PublishedArm("real+both", "real + both", 77.24, 65.49, None, None),
)


@dataclass(frozen=True)
class PublishedModel:
    """Macro F1 and IoU of one architecture, in percent: real, synthetic, real and synthetic."""

    architecture: str
    """As this product names it."""
    f1: tuple[float, float, float]
    iou: tuple[float, float, float]


MODEL_ARMS: Final = ("real", "synthetic", "real+both")
"""The arms of this product beside the three columns."""
MODELS: Final = (
    PublishedModel("unet", (76.37, 74.63, 77.40), (64.49, 62.31, 65.58)),
    PublishedModel("unetplusplus", (76.38, 74.94, 78.23), (64.36, 62.73, 66.67)),
    PublishedModel("pan", (76.20, 74.65, 77.21), (64.10, 62.42, 65.48)),
    PublishedModel("deeplabv3plus", (76.02, 74.63, 77.62), (63.91, 62.39, 65.94)),
    PublishedModel("segformer", (77.09, 75.10, 77.80), (65.26, 62.90, 66.14)),
    PublishedModel("fpn", (76.85, 74.81, 77.71), (64.92, 62.59, 66.04)),
)
CLASS_F1: Final = {"shrub": (46.82, 48.79), "barren": (60.32, 62.05)}
"""F1 of the two weakest classes, real and real with unconditional, in percent."""


@dataclass(frozen=True)
class PublishedCorpus:
    """A caption corpus with its redundancy in percent, over the whole corpus."""

    name: str
    images: int
    captions: int
    redundancy: float
    clipscore: float
    """100 × cosine."""


CORPORA: Final = (
    PublishedCorpus("UCM-Captions", 2_100, 10_500, 80.88, 30.18),
    PublishedCorpus("RSICD", 10_921, 54_605, 67.02, 29.11),
    PublishedCorpus("NWPU-Captions", 31_500, 157_500, 72.65, 30.25),
    PublishedCorpus("ARAS400k, real", 100_240, 501_200, 8.01, 29.89),
    PublishedCorpus("ARAS400k, synthetic", 300_000, 1_500_000, 13.06, 29.58),
    PublishedCorpus("ARAS400k, all", 400_240, 2_001_200, 12.85, 29.66),
)


@dataclass(frozen=True)
class PublishedWriter:
    """One caption column of ARAS400k, over 400,240 captions."""

    column: str
    redundancy: float
    """Percent of the captions."""
    clipscore: float
    """100 × cosine."""
    percentages: float
    """Percent of 10,000 captions that quote percentages."""


CAPTIONS_OF_A_WRITER: Final = 400_240
WRITERS: Final = (
    PublishedWriter("text_qwen3-4b", 46.45, 26.34, 72.76),
    PublishedWriter("vision_gemma3-4b", 0.84, 31.06, 0.0),
    PublishedWriter("vision_qwen3-vl-8b", 10.05, 31.79, 0.0),
    PublishedWriter("hybrid_gemma3-4b", 0.47, 30.26, 95.86),
    PublishedWriter("hybrid_qwen3-vl-8b", 6.41, 27.88, 83.99),
)

NAMES_DOMINANT: Final = "47\N{EN DASH}48"
"""Percent of images whose dominant class is named by the paper's vision-only captions."""
