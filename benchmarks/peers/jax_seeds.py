"""What a user of JAX would do for several seeds: the loop over batches compiled as one, and eight networks at a time.

A step that is timed is one of one network: the time of a call over the number of networks and of batches in it.

python jax_seeds.py gru "adding 600"
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
from jax_scan import train
from serve import serve
from work import CASES, batches, weights

SEEDS = 8
cell, case = sys.argv[1], CASES[sys.argv[2]]
inputs, targets = (jnp.asarray(each) for each in zip(*batches(case), strict=True))
first = weights(cell, case)
# The first network is the one that all programs begin with, the others have weights of their own.
stacked = {
    name: jnp.stack([jnp.asarray(value) * (1 - seed / 100) for seed in range(SEEDS)]) for name, value in first.items()
}
zeros = jax.tree.map(jnp.zeros_like, stacked)
state = (stacked, zeros, zeros, jnp.zeros(SEEDS))


@jax.jit
def train_all(states):
    def one(state):
        return jax.lax.scan(lambda state, batch: train(state, *batch), state, (inputs, targets))

    return jax.vmap(one)(states)


losses: list[float] = []


def step(number: int) -> float:
    global state
    if number < 3 and losses:  # The first call has made them.
        return losses[number]
    state, found = train_all(state)
    losses[:] = found[0].tolist()
    return losses[0]


serve(step, SEEDS * len(inputs))
