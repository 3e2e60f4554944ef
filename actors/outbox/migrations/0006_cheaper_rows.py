from django.db import migrations, models

# A row is changed twice before it is deleted. Where its page has room left, being leased touches no index.
LEAVE_ROOM = "ALTER TABLE outbox_outboxmessage SET (fillfactor = 50)"
LEAVE_NONE = "ALTER TABLE outbox_outboxmessage RESET (fillfactor)"


def on_postgresql(sql):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('outbox', '0005_claimed_at_and_sequence'),
    ]

    operations = [
        migrations.AlterField(
            model_name='outboxmessage',
            name='dedupe_key',
            field=models.CharField(max_length=200, null=True, verbose_name='deduplication key'),
        ),
        migrations.AddConstraint(
            model_name='outboxmessage',
            constraint=models.UniqueConstraint(
                condition=models.Q(('dedupe_key__isnull', False)),
                fields=('dedupe_key',),
                name='outbox_one_waits_of_a_key',
            ),
        ),
        migrations.RunPython(on_postgresql(LEAVE_ROOM), on_postgresql(LEAVE_NONE)),
    ]
