"""Many runs: their state, driver, invocation, monitor, status and signals."""
