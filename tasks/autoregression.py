"""Linear models of the next values of a series, fitted by least squares, which a network is set beside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np


def ridge_of(pieces: Iterator[tuple[np.ndarray, np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a linear model with an intercept for each target by least squares with a ridge of 1.

    One piece is left to scikit-learn. Of several the products that the solution rests on are added up in float64.

    Args:
        pieces: Inputs, ``(rows, inputs)``, and targets, ``(rows, targets)``, piece by piece.

    Returns:
        The function from inputs to targets.
    """
    head = list(itertools.islice(pieces, 2))
    if len(head) == 1:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1.0).fit(*head[0]).predict
    # Numbers near 0 leave more digits.
    origin_in, origin_out = (each.mean(0, dtype=np.float64) for each in head[0])
    count, sum_in, sum_out = 0, np.zeros_like(origin_in), np.zeros_like(origin_out)
    squares, products = np.zeros((len(sum_in), len(sum_in))), np.zeros((len(sum_in), len(sum_out)))
    for inputs, targets in itertools.chain(head, pieces):
        given, asked = inputs - origin_in, targets - origin_out
        count += len(given)
        sum_in += given.sum(0)
        sum_out += asked.sum(0)
        squares += given.T @ given
        products += given.T @ asked
    squares -= np.outer(sum_in, sum_in) / count
    products -= np.outer(sum_in, sum_out) / count
    weights = np.linalg.solve(squares + np.eye(len(squares)), products)
    mean_in, mean_out = origin_in + sum_in / count, origin_out + sum_out / count
    return lambda inputs: (inputs - mean_in) @ weights + mean_out
