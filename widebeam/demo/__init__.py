"""The demo: the whole pipeline on this machine, from nothing to proven equal."""
