"""What is measured while training; ``own`` has the one call for a module of your own."""
