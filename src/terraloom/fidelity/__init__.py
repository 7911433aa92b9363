"""How like, how varied, how new: figures of two sets of feature vectors, in bounded memory.

Functions here take arrays "sample feature" (mapped files too) or blocks of them; they know nothing
of images, tables or networks, and fit nothing. Every figure depends on the feature network and on
the numbers of samples: compare figures of equal counts in one network's features only.

    moments      Fréchet distance of streamed means and covariances
    kernel       unbiased kernel distance, with an interval
    neighbours   nearest neighbours, precision, recall, density, coverage; no matrix of all pairs
    diversity    Vendi score from second moments
    separation   silhouettes, overall and by pair
    comparison   all of them beside a floor and a ceiling
"""
