"""Keep k replicas ready on spot: in which zones, with how many spares, and when on demand stands in. Pure."""
