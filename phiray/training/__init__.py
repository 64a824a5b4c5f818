"""Step, loop, optimizer, schedule, methods: takes batches and a module."""
