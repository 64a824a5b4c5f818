"""Work on a cluster, from outside it."""
