"""A torchvision without compiled operators is made importable; any other fault is not hidden."""

import importlib
import sys

import pytest
import torch

from terraloom.learning import _torchvision_repair
from terraloom.learning._torchvision_repair import repair_torchvision

MISSING = "operator torchvision::nms does not exist"


@pytest.fixture
def imports(monkeypatch):
    """Counts imports of torchvision and lets each end as scripted."""
    script = []

    def import_module(name):
        outcome = script.pop(0)
        if outcome is not None:
            raise outcome
        return sys.modules.get(name)

    monkeypatch.setattr(_torchvision_repair.importlib, "import_module", import_module)
    return script


@pytest.fixture
def definitions(monkeypatch):
    """Records what is declared to torch in place of declaring it twice."""
    found = []

    class Library:
        def __init__(self, namespace, kind):
            assert (namespace, kind) == ("torchvision", "FRAGMENT")

        def define(self, signature):
            found.append(signature.split("(")[0])

    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.setattr(_torchvision_repair, "_kept", [])
    modules = {k: v for k, v in sys.modules.items() if k.split(".")[0] == "torchvision"}
    yield found
    sys.modules.update(modules)


def test_a_matched_install_is_left_alone(imports, definitions):
    imports.append(None)
    repair_torchvision()
    assert definitions == []
    assert imports == []


def test_missing_operators_are_declared_and_the_import_tried_again(imports, definitions):
    imports += [RuntimeError(MISSING), None]
    repair_torchvision()
    assert definitions == ["nms", "qnms"]
    assert imports == []
    assert len(_torchvision_repair._kept) == 1


def test_another_fault_is_not_hidden(imports, definitions):
    imports.append(RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        repair_torchvision()
    assert definitions == []


def test_torchvision_imports_here():
    repair_torchvision()
    assert importlib.import_module("torchvision").__name__ == "torchvision"
