"""What the sink writes in the target beside rows: progress, quarantine, notices. May import mapping, fold and wide."""
