"""Settings, split by concern and read from the environment in one place each.

`development` (the default), `production` and `test` each build on `base`, which gathers `api`, `messaging` and
`logging`. Every variable is documented in `.env.example`.
"""
