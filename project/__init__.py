"""The service around the tasks: routes, health probes, limits, logs, and the commands that run all of it."""
