"""What is measured while a network trains; ``own.py`` has the one call for a module of your own."""
