"""What one stage trains: rows, model, trainable parts, loss."""
