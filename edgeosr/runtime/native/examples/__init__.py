"""Whole programs on libedgeosr, which the tests build and run."""
