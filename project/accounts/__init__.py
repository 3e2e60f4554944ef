"""Users' access to the service: their sign-ins and tokens, and the record of what happened to it."""
