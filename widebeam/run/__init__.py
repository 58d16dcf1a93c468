"""`widebeam run` and the parts it minds. May import every room but demo, lab and cli."""
