"""The Task API: tasks with owners over REST and in the admin, told to `actors` by signals."""
