"""A classifier that edgeosr did not train: read, checked on its known images, and given a discriminator."""
