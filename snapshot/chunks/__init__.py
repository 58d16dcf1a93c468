"""Which chunks there are, how far each is, and from when on one may be read. May import sink and cdc."""
