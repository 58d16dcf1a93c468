"""The sink: change records become wide rows, in one target transaction a batch."""
