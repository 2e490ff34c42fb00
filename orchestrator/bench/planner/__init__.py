"""How fast, and how provably well, the optimiser plans random worlds."""
