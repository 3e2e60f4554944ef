"""The Task API: tasks with owners, over REST and in the admin. Signals send every change of a task to `actors`."""
