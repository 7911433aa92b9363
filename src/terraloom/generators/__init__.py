"""Family: pixels from label masks and a seed. One file per method."""
