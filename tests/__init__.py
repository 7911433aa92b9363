"""Tests; a package, because another of this name comes with torch-fidelity and would hide it."""
