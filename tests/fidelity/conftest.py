"""The reference implementations import torchvision, which CPU builds need repaired."""

from terraloom.learning._torchvision_repair import repair_torchvision

repair_torchvision()
