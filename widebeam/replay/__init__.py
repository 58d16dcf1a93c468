"""Replay: going back to a point that is still in the log, and applying from there again."""
