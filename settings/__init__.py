"""Settings, split by concern; each variable of the environment is read in one place.

`development` (the default), `production` and `test` each build on `base`, which gathers `api`, `messaging` and
`logging`. Every variable is documented in `.env.example`.
"""
