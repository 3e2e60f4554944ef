import bench.peers.models
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Activity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('message_id', models.CharField(max_length=64, null=True, unique=True)),
                ('event', models.CharField(max_length=20)),
                ('task_id', models.BigIntegerField()),
                ('version', models.PositiveIntegerField(db_default=1, default=1)),
                ('title', models.CharField(max_length=200)),
                ('owner', models.CharField(max_length=150)),
                ('owner_id', models.BigIntegerField(null=True)),
                ('changed_by', models.CharField(db_default='system', default='system', max_length=200)),
                ('changed_by_id', models.BigIntegerField(null=True)),
                ('changes', models.JSONField(db_default={}, default=dict)),
                ('request_id', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('occurred_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('published_at', models.DateTimeField(null=True)),
                ('logged_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('attempts', models.PositiveIntegerField(db_default=1, default=1)),
                ('transaction', models.BigIntegerField(db_default=bench.peers.models.CurrentTransaction(), editable=False)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('task_id', 'version'), name='peer_once_a_version')],
            },
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('title', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('completed', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('owner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tasks', to=settings.AUTH_USER_MODEL)),
            ],
        ),
    ]
