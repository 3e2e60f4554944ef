"""The API under generated requests, by Schemathesis, with all of its checks."""
