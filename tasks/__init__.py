"""Tasks: the synthetic problems asked of the network, whose answer lies many steps back."""
