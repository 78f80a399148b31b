"""Recurrent cells, one recurrence a file, all under the contract in ``base.py``."""

from bench.cells.base import Cell, State
