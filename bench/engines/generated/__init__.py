"""The engine that writes C++ from a cell's own equations."""
