"""The wide tables themselves: columns and parts made, widened, renamed, known. May import cdc, mapping and fold."""
