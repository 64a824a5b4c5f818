"""Download the public data sets, in the layouts that phiray reads."""
