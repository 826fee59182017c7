"""Small whole programs that use the fused kernel."""
