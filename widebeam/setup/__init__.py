"""A connector made, resumed, followed over a failover, and dropped. May import state, plan, replay and verify."""
