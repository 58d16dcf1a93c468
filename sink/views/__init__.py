"""What readers are shown beside the wide rows themselves. May import cdc, mapping and fold."""
