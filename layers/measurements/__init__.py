"""What ``python -m layers.measure_lambda`` measures, a module each."""
