"""Which score predicts use, asked of a finished project: slices of its pool, each trained on."""
