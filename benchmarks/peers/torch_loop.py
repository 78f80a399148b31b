"""The plain PyTorch loop; with ``--set-up``, the process is first set up as the bench does it.

Any other name than those of torch's three is that of a layer of the package torchrecurrent, which runs its cell step by
step, and which begins with the weights that it draws after the seed 0.

python torch_loop.py gru "adding 600" [--set-up]
python torch_loop.py MGU "adding 600"
"""

from __future__ import annotations

import sys

import torch
from serve import serve
from torch import nn
from torch.nn import functional as F
from work import CASES, CLIP_NORM, LEARNING_RATE, batches, weights

cell, case = sys.argv[1], CASES[sys.argv[2]]
if "--set-up" in sys.argv:
    from bench.training import process
    from bench.training.settings import RuntimeConfig

    process.set_up(RuntimeConfig(threads=None, flush_subnormals=True, keep_pages=True, deterministic=True, tf32=False))
torch.manual_seed(0)
stock = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
if cell in stock:
    network = stock[cell](case.input, case.hidden)
else:
    import torchrecurrent

    network = getattr(torchrecurrent, cell)(case.input, case.hidden)
readout = nn.Linear(case.hidden, case.output)
parameters = [*network.parameters(), *readout.parameters()]
if cell in stock:
    given = [torch.from_numpy(value) for value in weights(cell, case).values()]
    for parameter, value in zip(parameters, given, strict=True):
        parameter.data.copy_(value)
optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
data = [(torch.from_numpy(inputs), torch.from_numpy(targets)) for inputs, targets in batches(case)]


def step(number: int) -> float:
    inputs, targets = data[number % len(data)]
    optimizer.zero_grad()
    hidden, _ = network(inputs)
    if case.task == "adding":
        loss = F.mse_loss(readout(hidden[-1])[:, 0], targets)
    else:
        loss = F.cross_entropy(readout(hidden).flatten(0, 1), targets.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    optimizer.step()
    return loss.item()


serve(step)
