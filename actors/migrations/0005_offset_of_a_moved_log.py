from django.db import migrations, models

from actors.commit_order import OUT_OF_ORDER, TransactionNumber

# Transaction numbers are a cluster's own, and a dump keeps them. A row whose tuple was written by an earlier
# transaction than the one that the row names has come from elsewhere: it names one of this cluster's future. Then the
# offset is raised so far that all open and later transactions have higher numbers than it, and by a million more:
# `loaddata` inserts row by row, and few need to raise it again. Each statement that inserts looks first, and so does a
# client of the stream that asks for the log's end.
CREATE = """
CREATE TABLE actors_activity_offset (value bigint NOT NULL);
COMMENT ON TABLE actors_activity_offset IS
    'What is added to the cluster''s transaction numbers in actors_activity: the highest row, or 0.';

CREATE FUNCTION actors_activity_offset() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    present bigint;
    needed bigint;
BEGIN
    FOR pass IN 1..2 LOOP
        SELECT highest.value,
               CASE WHEN last.number - highest.value > last.written_by THEN last.number - last.oldest + 1 END
        INTO present, needed
        FROM (SELECT coalesce(max(value), 0) AS value FROM actors_activity_offset) AS highest
        LEFT JOIN LATERAL (
            SELECT transaction AS number, pg_current_xact_id()::text::bigint - age(xmin) AS written_by,
                   pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest
            FROM actors_activity ORDER BY transaction DESC, id DESC LIMIT 1
        ) AS last ON true;
        IF needed > present THEN
            IF pass = 2 THEN
                needed := needed + 1000000;
                INSERT INTO actors_activity_offset VALUES (needed);
                RETURN needed;
            END IF;
            -- One at a time: the others find it raised.
            LOCK TABLE actors_activity_offset IN SHARE ROW EXCLUSIVE MODE;
        ELSE
            RETURN present;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION actors_activity_takes_offset() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken text;
BEGIN
    taken := set_config('vazifa.activity_offset', actors_activity_offset()::text, true);
    RETURN NULL;
END $$;
CREATE TRIGGER activity_takes_offset BEFORE INSERT ON actors_activity
    FOR EACH STATEMENT EXECUTE FUNCTION actors_activity_takes_offset();
ALTER TABLE actors_activity ALTER COLUMN transaction
    SET DEFAULT pg_current_xact_id()::text::bigint + current_setting('vazifa.activity_offset')::bigint;

-- The search_path of pg_dump, pg_restore and logical replication is empty.
DO $$
DECLARE
    own regprocedure;
BEGIN
    FOR own IN SELECT pg_proc.oid FROM pg_proc JOIN pg_class ON relnamespace = pronamespace
        WHERE pg_class.oid = 'actors_activity'::regclass AND proname LIKE 'actors\\_activity%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', own,
            (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'actors_activity'::regclass));
    END LOOP;
END $$;
"""
DROP = """
ALTER TABLE actors_activity ALTER COLUMN transaction SET DEFAULT pg_current_xact_id()::text::bigint;
DROP TRIGGER activity_takes_offset ON actors_activity;
DROP FUNCTION actors_activity_takes_offset();
DROP FUNCTION actors_activity_offset();
DROP TABLE actors_activity_offset;
ALTER FUNCTION actors_activity_is_append_only() RESET search_path;
"""
# Without numbers the rows are in the order of their ids.
REORDER = """
ALTER TABLE actors_activity DISABLE TRIGGER activity_is_append_only;
UPDATE actors_activity SET transaction = 0;
ALTER TABLE actors_activity ENABLE TRIGGER activity_is_append_only;
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        # Looked for first, under a lock that lets others read: the new default locks them out.
        cursor.execute("LOCK TABLE actors_activity IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(OUT_OF_ORDER)
        is_out_of_order = cursor.fetchone()[0] > 0
    schema_editor.execute(CREATE, params=None)
    if is_out_of_order:  # it was moved and written by an earlier release
        schema_editor.execute(REORDER, params=None)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP, params=None)


class Migration(migrations.Migration):

    dependencies = [
        ('actors', '0004_one_index_of_message_ids'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='activity',
                    name='transaction',
                    field=models.BigIntegerField(db_default=TransactionNumber(), editable=False, verbose_name='transaction'),
                ),
            ],
        ),
        migrations.RunPython(create, drop),
    ]
