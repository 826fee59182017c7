"""Image sets: readers, class splits and the four disjoint parts."""
