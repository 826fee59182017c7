"""``libedgeosr``: the C library that opens bundles (``include/edgeosr.h``), and what Python needs of it."""
