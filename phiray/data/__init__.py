"""Files to batches: readers, split, order, rows, collate, and the Ray Data pipelines."""
