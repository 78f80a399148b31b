"""A layer of the package torchrecurrent, which runs its cell step by step, in the plain PyTorch loop.

python torchrecurrent_layer.py MGU "adding 600"
"""

from __future__ import annotations

import sys

import torch
import torchrecurrent
from serve import serve
from torch import nn
from torch.nn import functional as F
from work import CASES, CLIP_NORM, LEARNING_RATE, batches

cell, case = sys.argv[1], CASES[sys.argv[2]]
torch.manual_seed(0)
network = getattr(torchrecurrent, cell)(case.input, case.hidden)
readout = nn.Linear(case.hidden, case.output)
parameters = [*network.parameters(), *readout.parameters()]
optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
data = [(torch.from_numpy(inputs), torch.from_numpy(targets)) for inputs, targets in batches(case)]


def step(number: int) -> float:
    inputs, targets = data[number % len(data)]
    optimizer.zero_grad()
    hidden, _ = network(inputs)
    loss = F.mse_loss(readout(hidden[-1])[:, 0], targets)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    optimizer.step()
    return loss.item()


if __name__ == "__main__":
    serve(step)
