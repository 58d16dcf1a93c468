"""Every option of a connector, its type, its default and its bounds. connectors/ships.toml explains them."""
