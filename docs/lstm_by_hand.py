"""One step of an RNN and of an LSTM in numbers, gate by gate, from plain matrices; docs/lstm_by_hand.md shows it.

    python docs/lstm_by_hand.py

Nothing here is torch's. ``tests/cells/test_by_hand.py`` compares it with ``bench.cells.lstm.LSTMCell``.
"""

from __future__ import annotations

import math

Vector = list[float]
Matrix = list[Vector]

X = [1.0, 2.0]
"""The input of the step."""
H = [3.0, 4.0]
"""The hidden state before it. An LSTM's own would lie between -1 and 1; these are the numbers of the exercise."""
C = [0.5, -0.5]
"""The cell state before it. The exercise has none; with 0 the forget gate would have nothing to keep."""

W = {
    "f": [[0.1, 0.2], [0.3, 0.4]],
    "i": [[0.7, 0.8], [0.9, 1.0]],
    "g": [[1.3, 1.4], [1.5, 1.6]],
    "o": [[1.9, 2.0], [2.1, 2.2]],
}
"""A matrix for each gate, and for g, the candidate."""
B = {"f": [0.5, 0.6], "i": [1.1, 1.2], "g": [1.7, 1.8], "o": [2.3, 2.4]}


def times(matrix: Matrix, vector: Vector) -> Vector:
    """Return the product of a matrix and a vector."""
    return [sum(weight * value for weight, value in zip(row, vector, strict=True)) for row in matrix]


def plus(*vectors: Vector) -> Vector:
    """Return the sum of vectors."""
    return [sum(values) for values in zip(*vectors, strict=True)]


def by(one: Vector, other: Vector) -> Vector:
    """Return the product of two vectors, unit by unit."""
    return [a * b for a, b in zip(one, other, strict=True)]


def sigmoid(values: Vector) -> Vector:
    """Return 1 / (1 + exp(-a)) of each."""
    return [1 / (1 + math.exp(-a)) for a in values]


def tanh(values: Vector) -> Vector:
    """Return tanh of each."""
    return [math.tanh(a) for a in values]


def rnn_step(w_x: Matrix, w_h: Matrix, b: Vector, x: Vector, h: Vector) -> Vector:
    """Return the next hidden state of a vanilla RNN: tanh(W_x x + W_h h + b)."""
    return tanh(plus(times(w_x, x), times(w_h, h), b))


def lstm_step(
    w_x: dict[str, Matrix], w_h: dict[str, Matrix], b: dict[str, Vector], x: Vector, h: Vector, c: Vector
) -> dict[str, Vector]:
    """Return everything of one step of an LSTM.

    a = W_x x + W_h h + b for each of f, i, g, o; f, i, o = sigmoid(a); g = tanh(a); c' = f c + i g; h' = o tanh(c').
    """
    found = {f"a_{k}": plus(times(w_x[k], x), times(w_h[k], h), b[k]) for k in "figo"}
    found |= {k: (tanh if k == "g" else sigmoid)(found[f"a_{k}"]) for k in "figo"}
    found["c'"] = plus(by(found["f"], c), by(found["i"], found["g"]))
    found["h'"] = by(found["o"], tanh(found["c'"]))
    return found


ZERO = {k: [[0.0, 0.0], [0.0, 0.0]] for k in W}
READINGS = {"the matrices act on h alone": (ZERO, W), "the matrices act on h and on x": (W, W)}
"""W_x and W_h by what the exercise may mean."""


def main() -> None:
    """Print both readings, a line for each vector."""
    print(f"vanilla RNN, with W_f and b_f on both: h' = {shown(rnn_step(W['f'], W['f'], B['f'], X, H))}")
    for reading, (w_x, w_h) in READINGS.items():
        print(f"\nLSTM, where {reading}:")
        for name, values in lstm_step(w_x, w_h, B, X, H, C).items():
            print(f"  {name:3} = {shown(values)}")


def shown(values: Vector) -> str:
    """Return a vector with six decimals."""
    return f"[{', '.join(f'{value:.6f}' for value in values)}]"


if __name__ == "__main__":
    main()
