"""An application for a worker pool of `test_pool` and `test_coroutines`: a slow actor and coroutine actors."""
