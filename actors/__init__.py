"""Everything in the background: the actors, and beneath them `outbox`, which carries their messages.

Knows no task: it is told plain ids and names, because what it writes outlives the task and its user.
"""
