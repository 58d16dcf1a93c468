"""How a narrow row becomes a cell: rules, dictionaries, names, layout. May import cdc."""
