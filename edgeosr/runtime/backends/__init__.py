"""What runs a bundle's network: one file a backend, one protocol for all."""
