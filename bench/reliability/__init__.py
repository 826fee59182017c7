"""What is promised of bundles and frames, tried many thousand times: ``edgeosr.bench.reliability``."""
