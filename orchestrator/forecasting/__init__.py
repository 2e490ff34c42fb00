"""What the coming hours are expected to be. Pure: values in, values out."""
