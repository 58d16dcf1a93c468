"""Every precondition of a run, each with what mends it. May import config, init, state, health and plan."""
