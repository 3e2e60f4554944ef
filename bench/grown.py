"""Databases of many tasks: what the service would have after years, filled by SQL, each once and kept for the run.

In all of them the same handful of tasks has a rare word, and each page that is asked for is full.
"""

from functools import cache

from psycopg import sql

from bench.ground import Ground
from bench.sites import Site, ours

RARE_TITLE = "Zilzila hisoboti"
RARE_DESCRIPTION = "qaldirgʻochlar"
MANY = 100_000
USERS, FEW_USERS = 1_000, 10

TASKS = """
INSERT INTO tasks_task (title, description, completed, owner_id, created_at, updated_at)
SELECT CASE WHEN number < 600 AND number %% 100 = 42 THEN %(rare_title)s || ' ' || number
            ELSE verbs[1 + number %% 8] || ' ' || things[1 + number / 8 %% 10] || ' ' || number END,
       'Mas''ul: ' || things[1 + number %% 10] || ', ' || verbs[1 + number / 10 %% 8] || ', muddat ' || number %% 365
         || CASE WHEN number < 600 AND number %% 100 = 43 THEN ' ' || %(rare_description)s ELSE '' END,
       number %% 3 = 0, (SELECT min(id) FROM auth_user) + number %% %(users)s,
       now() - (%(rows)s - number) * interval '1 second', now()
FROM generate_series(1, %(rows)s::int) AS number,
     (SELECT ARRAY['Tayyorlash', 'Yuborish', 'Tekshirish', 'Yangilash', 'Olish', 'Tuzatish', 'Yozish', 'Uchrashuv']
             AS verbs,
             ARRAY['hisobot', 'shartnoma', 'taqdimot', 'byudjet', 'server', 'mijoz', 'hujjat', 'reja', 'dastur', 'xat']
             AS things) AS words
"""
ACTIVITIES = """
INSERT INTO actors_activity (message_id, event, task_id, title, owner, owner_id, changed_by, changed_by_id, changes,
                             request_id, occurred_at, published_at, logged_at)
SELECT gen_random_uuid()::text,
       CASE WHEN task.id %% 20 = 7 THEN 'task.deleted' WHEN task.id %% 20 IN (3, 11, 15) THEN 'task.updated'
            ELSE 'task.created' END,
       task.id, title, username, owner_id, username, owner_id,
       jsonb_build_object('title', jsonb_build_array(null, title), 'completed', jsonb_build_array(null, completed)),
       '', created_at, created_at, created_at
FROM tasks_task AS task JOIN auth_user AS owner ON owner.id = owner_id ORDER BY task.id
"""

# Those that are no constraint's.
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename IN ('tasks_task', 'actors_activity')
      AND format('%I.%I', schemaname, indexname)::regclass NOT IN (SELECT conindid FROM pg_constraint)
"""


@cache
def grown(ground: Ground, rows: int) -> Site:
    """Return ours with a database of so many tasks and as many activities."""
    site = ours(ground.servers, database=f"tasks_{rows}")
    ground.make_database(site)
    _fill(ground, site, rows)
    return site


def _fill(ground: Ground, site: Site, rows: int) -> None:
    users = USERS if rows >= MANY else FEW_USERS
    values = {"rows": rows, "users": users, "rare_title": RARE_TITLE, "rare_description": RARE_DESCRIPTION}
    database = ground.database(site.database)
    ground.add_users(site, users)
    # Triggers have their part; indexes come afterwards, which takes half the time.
    indexes = database.execute(INDEXES).fetchall()
    for name, _definition in indexes:
        database.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    database.execute(TASKS, values)
    database.execute(ACTIVITIES, values)
    database.execute("SET maintenance_work_mem = '512MB'")
    for _name, definition in indexes:
        database.execute(definition)
    database.execute("VACUUM ANALYZE")
    database.execute("CHECKPOINT")
