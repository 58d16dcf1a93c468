"""What the source is asked over sessions: catalog, slot, publication, time encodings. May import cdc's words."""
