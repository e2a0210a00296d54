"""Floor 7: demonstrations. Terrain from scattered heights, Weiss and Freeman's figures."""
