"""Training: losses, loop, checkpoints and the OpenGAN discriminator."""
