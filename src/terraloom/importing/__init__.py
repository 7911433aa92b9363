"""Data sets in other layouts, taken in with everything that came with them."""
