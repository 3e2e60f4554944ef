"""The service around the tasks: routes, health, limits, logs, and the commands that run it all."""
