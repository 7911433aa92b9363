"""Make torchvision importable beside a torch build that lacks its compiled operators.

A CPU torch beside a torchvision built for another torch fails on `torchvision::nms does not exist`
while it registers shape rules; nothing here uses that operator. Defining its signature lets the
rest of torchvision (and with it timm and segmentation_models_pytorch) import. Matched installs are
left alone.
"""

import importlib
import logging
import sys
from typing import Final

import torch

_SIGNATURES: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []


def repair_torchvision() -> None:
    """Import torchvision; where just its operators are missing, declare them and try again."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library(  # type: ignore[no-untyped-call]
            "torchvision", "FRAGMENT"
        )
        for signature in _SIGNATURES:
            library.define(signature)  # type: ignore[no-untyped-call]
        _kept.append(library)  # the definitions live as long as the library object
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision")
        logging.getLogger(__name__).info(
            "torchvision has no compiled operators for this torch; declared nms so that it imports"
        )
