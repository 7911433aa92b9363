"""Family: where image–mask pairs come from. One file per source."""
