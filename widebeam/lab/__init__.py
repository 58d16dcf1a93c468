"""Real servers as local processes on free loopback ports, for the demo, the benchmarks and the tests."""
