"""Benchmarks: ratios from interleaved runs, never a timed test."""
