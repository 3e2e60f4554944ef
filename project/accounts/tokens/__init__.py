"""JSON Web Tokens: each belongs to a sign-in, its family, which can end (docs/decisions/0027-token-families.md)."""
