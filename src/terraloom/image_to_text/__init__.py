"""A small image-to-text network, trained on captions of train rows: what one arm learned to say."""
