"""Carbon sources: what grids emit, from recordings, from a synthetic profile, and several of them in order."""
