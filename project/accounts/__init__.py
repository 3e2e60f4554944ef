"""Users' access to the service: their sign-ins and tokens."""
