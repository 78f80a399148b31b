"""The ways to unroll a cell over a sequence: all compute the same, at different speeds."""

from bench.engines.base import ENGINES, Engine, Tap, Unroll
from bench.engines.choice import Choice, choose, choose_loss
from bench.engines.readout import LOSS_ENGINES, LossEngine
