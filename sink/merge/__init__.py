"""Folded rows into wide tables: staging, upsert, clears, tombstones, overflow. May import mapping, fold and wide."""
