"""Scripts that make the packaged parameters of models from measurements."""
