"""Pixels with a place on Earth; no learning here."""
