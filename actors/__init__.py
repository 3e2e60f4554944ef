"""Background work: the actors, the activity log that they write, and `outbox`, which delivers their messages.

Imports nothing of `tasks`. Actors receive plain ids and names, because the log outlives the task and its user.
"""
