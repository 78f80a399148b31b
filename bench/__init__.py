"""rnn-bench: how far recurrent cells carry information and gradient."""

__version__ = "0.1.0"
