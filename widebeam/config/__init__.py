"""A connector's file: read, checked against itself, and turned into a mapping. May import the lower packages."""
