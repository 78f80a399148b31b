"""The plain JAX way: ``lax.scan`` over the steps, with the whole training step under ``jit``.

python jax_scan.py gru "adding 600"
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from serve import serve
from work import CASES, CLIP_NORM, LEARNING_RATE, batches, weights

cell, case = sys.argv[1], CASES[sys.argv[2]]
data = [(jnp.asarray(inputs), jnp.asarray(targets)) for inputs, targets in batches(case)]
parameters = {name: jnp.asarray(value) for name, value in weights(cell, case).items()}
zeros = jax.tree.map(jnp.zeros_like, parameters)
state = (parameters, zeros, zeros, jnp.zeros(()))


def advance(p, carry, projected):
    h, c = carry
    recurrent = h @ p["weight_hh"].T + p["bias_hh"]
    if cell == "rnn":
        h = jnp.tanh(projected + recurrent)
    elif cell == "lstm":
        i, f, g, o = jnp.split(projected + recurrent, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
    else:
        (a, b, n), (r, z, m) = jnp.split(projected, 3, axis=-1), jnp.split(recurrent, 3, axis=-1)
        update, new = sigmoid(b + z), jnp.tanh(n + sigmoid(a + r) * m)
        h = (1 - update) * new + update * h
    return (h, c), h


def loss_of(p, inputs, targets):
    projected = inputs @ p["weight_ih"].T + p["bias_ih"]
    start = jnp.zeros((inputs.shape[1], case.hidden))
    (last, _), hidden = jax.lax.scan(lambda carry, each: advance(p, carry, each), (start, start), projected)
    if case.task == "adding":
        outputs = last @ p["readout_weight"].T + p["readout_bias"]
        return jnp.mean((outputs[:, 0] - targets) ** 2)
    logs = jax.nn.log_softmax(hidden @ p["readout_weight"].T + p["readout_bias"])
    return -jnp.mean(jnp.take_along_axis(logs, targets[..., None], axis=-1))


@jax.jit
def train(state, inputs, targets):
    p, mean, square, count = state
    loss, gradients = jax.value_and_grad(loss_of)(p, inputs, targets)
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda g: g * jnp.minimum(1.0, CLIP_NORM / (norm + 1e-6)), gradients)
    count += 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, square, gradients)
    by, root = LEARNING_RATE / (1 - 0.9**count), 1 - 0.999**count
    p = jax.tree.map(lambda w, m, s: w - by * m / (jnp.sqrt(s / root) + 1e-8), p, mean, square)
    return (p, mean, square, count), loss


def step(number: int) -> float:
    global state
    state, loss = train(state, *data[number % len(data)])
    return float(loss)


if __name__ == "__main__":
    serve(step)
