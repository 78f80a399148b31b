"""The engine in C++, and the code that builds it."""
