"""The verbs that go on until they are stopped: run, and its parts one by one."""
