from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('actors', '0003_lists'),
    ]

    # A unique field has a second index on PostgreSQL, for LIKE, which no query uses. A constraint has one.
    operations = [
        migrations.AlterField(
            model_name='activity',
            name='message_id',
            field=models.CharField(max_length=64, null=True, verbose_name='message id'),
        ),
        migrations.AddConstraint(
            model_name='activity',
            constraint=models.UniqueConstraint(fields=('message_id',), name='activity_once_a_message'),
        ),
    ]
