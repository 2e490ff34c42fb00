"""What can be bought, at which price, on which hardware."""
