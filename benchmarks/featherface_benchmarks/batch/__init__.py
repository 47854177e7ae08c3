"""Benchmarks of the bulk job: ``python -m featherface_benchmarks.batch WHAT``, from the repository's root."""
