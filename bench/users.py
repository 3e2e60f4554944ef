"""Many users and their tokens, so that a load is not that of one remembered user.

Our service remembers a token's user for `USER_CACHE_SECONDS`; a load of one token measures that memory and little
else of authentication. Guarantee: no token that is made here was sent before, so each of them is verified and its user
looked up, by ours as by a peer.
"""

import time
import uuid
from collections.abc import Iterator
from itertools import cycle

import jwt

from bench.ground import Ground
from bench.sites import SECRET_KEY, Site

USERS = 1_000
LIFETIME_SECONDS = 3_600

INSERT = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT '!', false, 'user' || number, '', '', '', false, true, now() FROM generate_series(2, %(users)s::int) AS number
ON CONFLICT (username) DO NOTHING
"""


def add_users(ground: Ground, site: Site, users: int = USERS) -> list[int]:
    """Add users beside the first until there are so many; return the ids of all."""
    database = ground.database(site.database)
    database.execute(INSERT, {"users": users})
    database.execute("ANALYZE auth_user")
    return [row[0] for row in database.execute("SELECT id FROM auth_user ORDER BY id").fetchall()]


def new_tokens(ids: list[int]) -> Iterator[str]:
    """Make tokens as `POST /api/token/` does, without the password check that is slow on purpose: users in turns."""
    for user in cycle(ids):
        now = int(time.time())
        claims = {"token_type": "access", "exp": now + LIFETIME_SECONDS, "iat": now, "jti": uuid.uuid4().hex}
        yield jwt.encode({**claims, "user_id": str(user)}, SECRET_KEY, algorithm="HS256")
