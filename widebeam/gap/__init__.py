"""Going on over a gap: a new slot with a new cutoff, and what the old stream did not bring mended by comparing."""
