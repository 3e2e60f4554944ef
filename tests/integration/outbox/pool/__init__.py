"""An application for a worker pool of `test_pool`: one slow actor."""
