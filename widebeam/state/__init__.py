"""What is written down of a connector in its target: row, halts, restarts, control schema. May import config."""
