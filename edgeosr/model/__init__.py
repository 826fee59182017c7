"""Backbones and heads (torch, imported lazily by callers)."""
