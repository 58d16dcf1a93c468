"""Change records folded into wide rows, and what of a batch is admitted. May import cdc and mapping."""
