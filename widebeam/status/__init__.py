"""How a connector is, looked at from outside, as values and as text. May import config and state."""
