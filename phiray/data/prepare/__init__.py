"""What is made once of the downloads, and found again ever after."""
