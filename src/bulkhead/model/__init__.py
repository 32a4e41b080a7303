"""What things are: data and validation, no input or output."""
