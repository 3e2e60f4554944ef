from django.db import migrations

# Measured at a million tasks, a quarter of the list costs creates less, not more: the one that sorts it in finds the pages
# that it needs in memory. And every search reads less.
SHORTER = "ALTER INDEX task_by_text SET (gin_pending_list_limit = 256)"
AS_BEFORE = "ALTER INDEX task_by_text SET (gin_pending_list_limit = 1024)"


def on_postgresql(sql):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0007_search'),
    ]

    operations = [
        migrations.RunPython(on_postgresql(SHORTER), on_postgresql(AS_BEFORE)),
    ]
