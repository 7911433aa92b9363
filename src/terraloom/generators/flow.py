"""Rectified flow on a U-Net: for a mask, for class shares, freely, or image and mask together.

Straight paths between noise and data after Liu et al. 2023 (arXiv 2209.03003, eqs. 1-2), times
drawn from a logit-normal (Esser et al. 2024, arXiv 2403.03206, eq. 19), guidance after Ho and
Salimans 2022 (arXiv 2207.12598, eq. 6). The network is preconditioned as Karras et al. 2022 (EDM,
arXiv 2206.00364, eq. 7 and appendix B.6) reason for denoisers, restated for velocities: what a
linear estimate knows of the velocity is added in closed form, so the network learns the rest. Noise
is given tones as different as those of images (`_flow_spectrum`).
Labels that are made along with the image are planes of −1 and 1 ("analog bits", Chen et al. 2023,
arXiv 2208.04202). A segmenter can steer samples by its gradient at the predicted image (Bansal et
al. 2023, arXiv 2302.07121, eq. 6). Few steps by distillation: `_flow_distillation`.
"""

from pathlib import Path
from typing import Final

from lightning_fabric import Fabric

from terraloom.dataset.rows import TrainRows
from terraloom.generators._face import DataShape
from terraloom.generators._flow_core import Flow, Settings
from terraloom.generators._flow_distillation import FlowStudent

__all__ = ["FlowGenerator", "Settings", "build"]

TRAINING_RATE: Final = 65.0
"""Images of 64 pixels per second on two CPU cores at default width, for estimates of time."""
SAMPLES_FREELY: Final = True
"""Whether unconditional samples are made as well."""
SAMPLING_RATE: Final = 15.0
"""As `TRAINING_RATE`, for sampling."""


class FlowGenerator(Flow):
    """The flow as it is trained on images; it may teach a faster one."""

    def student(self) -> FlowStudent | None:
        """The untrained generator of few steps that `distil_steps` asks for, if it does."""
        if not self.settings.distil_steps:
            return None
        return FlowStudent(self.settings, self.shape, self.fabric)

    def teach(self, student: FlowStudent, train: TrainRows, folder: Path, seed: int) -> None:
        """Hand the student these weights and the pairs that it learns from, made in `folder`."""
        student.learn_from(self, train, folder, seed)


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> FlowGenerator:
    """The generator with fresh weights, seeded by torch's state."""
    return FlowGenerator(settings, shape, fabric)
