"""Cloud regions and the grid zones that feed them."""
