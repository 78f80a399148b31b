"""The plain Keras 3 way, on JAX: a recurrent layer, a dense layer, and ``train_on_batch``.

python keras_on_jax.py gru "adding 600"
"""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers
from serve import serve
from work import BATCH, CASES, CLIP_NORM, LEARNING_RATE, batches, weights

cell, case = sys.argv[1], CASES[sys.argv[2]]
every = case.task == "copy"
recurrent = {
    "rnn": layers.SimpleRNN(case.hidden, return_sequences=every),
    "lstm": layers.LSTM(case.hidden, return_sequences=every),
    "gru": layers.GRU(case.hidden, return_sequences=every, reset_after=True),
}[cell]
model = keras.Sequential(
    [keras.Input(batch_shape=(BATCH, case.length, case.input)), recurrent, layers.Dense(case.output)]
)
model.compile(
    optimizer=keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True) if every else "mse",
)
given = weights(cell, case)
if cell == "gru":
    # In Keras the update gate comes first.
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        r, z, n = np.split(given[name], 3)
        given[name] = np.concatenate([z, r, n])
    biases = np.stack([given["bias_ih"], given["bias_hh"]])
else:
    biases = given["bias_ih"] + given["bias_hh"]
recurrent.set_weights([given["weight_ih"].T, given["weight_hh"].T, biases])
model.layers[-1].set_weights([given["readout_weight"].T, given["readout_bias"]])
data = [
    (inputs.transpose(1, 0, 2).copy(), targets.T[..., None].copy() if every else targets[:, None])
    for inputs, targets in batches(case)
]


def step(number: int) -> float:
    return float(model.train_on_batch(*data[number % len(data)]))


serve(step)
