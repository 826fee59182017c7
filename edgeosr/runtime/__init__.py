"""The edge runtime: a bundle in, verdicts out. Never imports torch."""
