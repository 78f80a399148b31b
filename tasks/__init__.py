"""What is asked of the network: synthetic tasks whose answer lies many steps back."""
