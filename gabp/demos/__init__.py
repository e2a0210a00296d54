"""Floor 7: demonstrations: terrain from scattered heights, Weiss and Freeman's figures."""
