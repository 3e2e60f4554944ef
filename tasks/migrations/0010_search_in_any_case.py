from django.db import migrations

# Beside the lists, whose reads and writes go on. A try that was interrupted has left an index that is not used.
BY_WORDS = (
    "DROP INDEX IF EXISTS task_by_words",
    "CREATE INDEX CONCURRENTLY task_by_words ON tasks_task "
    "USING gin (title gin_trgm_ops, description gin_trgm_ops) WITH (gin_pending_list_limit = 256)",
    "DROP INDEX CONCURRENTLY IF EXISTS task_by_text",
)
BY_TEXT = (
    "DROP INDEX IF EXISTS task_by_text",
    "CREATE INDEX CONCURRENTLY task_by_text ON tasks_task "
    "USING gin (upper(title::text) gin_trgm_ops, upper(description::text) gin_trgm_ops) "
    "WITH (gin_pending_list_limit = 256)",
    "DROP INDEX CONCURRENTLY IF EXISTS task_by_words",
)


def on_postgresql(statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for statement in statements:
                schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('tasks', '0009_restored_counts'),
    ]

    operations = [
        migrations.RunPython(on_postgresql(BY_WORDS), on_postgresql(BY_TEXT)),
    ]
