"""Audit of anybody's caption file: redundancy, leakage, and claims where masks or shares are."""
