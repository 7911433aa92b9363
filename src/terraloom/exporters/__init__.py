"""Family: the data set in other layouts. One file per layout."""
