from django.core.exceptions import ImproperlyConfigured
from django.db import Error, migrations

IS_INSTALLED = "SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'"
# The expression is the one in which Django's `icontains` looks: any other is no use to it. New tasks wait in a list,
# for one create in some hundreds to sort them in; every search reads it, so it must not be long. Autovacuum, which also
# sorts them in, comes after a hundredth more tasks, not after a fifth.
CREATE = """
CREATE INDEX task_by_text ON tasks_task
    USING gin (upper(title::text) gin_trgm_ops, upper(description::text) gin_trgm_ops)
    WITH (gin_pending_list_limit = 1024);
ALTER TABLE tasks_task SET (autovacuum_vacuum_insert_scale_factor = 0.01);
"""
DROP = """
DROP INDEX task_by_text;
ALTER TABLE tasks_task RESET (autovacuum_vacuum_insert_scale_factor);
"""
CANNOT = (
    "Search needs PostgreSQL's extension pg_trgm, and this role cannot create it. Have a role that may do so run "
    "CREATE EXTENSION pg_trgm in this database (it comes with PostgreSQL, in Debian with its server package), and "
    "migrate again."
)


def create(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(IS_INSTALLED)
        if cursor.fetchone() is None:
            try:
                cursor.execute("CREATE EXTENSION pg_trgm")
            except Error as error:
                raise ImproperlyConfigured(CANNOT) from error
    schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    # The extension stays: it may have been there before, and another application may use it.
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0006_lists'),
    ]

    operations = [
        migrations.RunPython(create, drop),
    ]
