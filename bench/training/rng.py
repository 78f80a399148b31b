"""Random streams: every draw is a function of (stream, seed, index) and never of earlier draws.

A resumed or repeated run therefore sees the batches it would have seen, and all cells of one seed see the same data.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Stream = Literal["init", "train", "shuffle", "dropout", "eval", "test", "probe", "bootstrap"]


def generator(stream: Stream, seed: int, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a fresh generator for one draw of one stream.

    Args:
        stream: Purpose of the numbers; different streams are independent.
        seed: The run's seed, at least 0.
        index: Position in the stream, for example the number of the batch.
        device: Device of the generator, and so of the tensors drawn from it. Different devices draw different numbers.

    Returns:
        A generator seeded with the first 63 bits of SHA-256 over ``stream/seed/index``.
    """
    digest = hashlib.sha256(f"{stream}/{seed}/{index}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
