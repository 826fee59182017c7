"""Latency and quality benchmarks, reports and plots."""
