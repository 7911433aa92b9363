"""Family: land cover from pixels. One file per architecture."""
