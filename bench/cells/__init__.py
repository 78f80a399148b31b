"""Recurrent cells: one recurrence a file, all under the contract of :class:`bench.cells.base.Cell`."""

from bench.cells.base import Cell, State
