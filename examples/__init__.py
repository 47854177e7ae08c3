"""Runnable examples. `python -m examples.demo` runs the whole system on loopback."""
