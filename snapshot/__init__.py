"""The backfill: the history below the slot's consistent point, chunk by chunk, beside the stream."""
