"""What the frozen CLIP makes of pictures, computed once and kept."""
