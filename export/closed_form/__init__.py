"""The Jacobian norm at the last convolution: recognised in a network, and computed by nodes."""
