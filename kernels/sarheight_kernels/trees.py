"""Class probabilities of a forest of decision trees.

Trees are arrays: a node compares one feature with a threshold and goes left where it is not above,
right otherwise; a leaf holds the fractions of the classes of its training samples. The nodes of all
trees lie one after the other, and children come after their parents, so every way down ends.
"""

from __future__ import annotations

import numpy as np

from sarheight_kernels._numba import F4, I4, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over

__all__ = ["mean_leaf_fractions"]

Floats = F4
Codes = I4


@spread_over("features")
@njit
def mean_leaf_fractions(
    begin: int,
    end: int,
    features: Floats,
    roots: Codes,
    feature: Codes,
    threshold: Floats,
    left: Codes,
    right: Codes,
    fractions: Floats,
    result: Floats,
) -> None:
    """Average over the trees the class fractions of the leaf that each sample reaches.

    Parameters
    ----------
    features : array of float32, shape (n, features)
        Samples; all values are finite.
    roots : array of int32, shape (trees,)
        Number of the first node of each tree.
    feature : array of int32, shape (nodes,)
        Feature that a node compares.
    threshold : array of float32, shape (nodes,)
        Value up to which a sample goes left.
    left, right : array of int32, shape (nodes,)
        Numbers of the children. A leaf has ``left = -1 - k`` with k its row in `fractions`.
    fractions : array of float32, shape (leaves, classes)
        Class fractions of the leaves.
    result : array of float32, shape (n, classes)
        Is overwritten.
    """
    trees, classes = roots.size, fractions.shape[1]
    scale = ONE / np.float32(trees)
    for sample in range(begin, end):
        for number in range(classes):
            result[sample, number] = ZERO
        for tree in range(trees):
            node = roots[tree]
            while left[node] >= 0:
                if features[sample, feature[node]] <= threshold[node]:
                    node = left[node]
                else:
                    node = right[node]
            leaf = -1 - left[node]
            for number in range(classes):
                result[sample, number] += scale * fractions[leaf, number]
