from django.db import migrations

# A dump has the tasks and their ledger, and `pg_restore --data-only` loads both with the triggers on: the triggers then
# count the tasks, and what the dump says is left out. Changes are written by a trigger; sums by the fold and by
# `tasks.listing.count_ledger.recount`, which both say so by a setting.
#
# The lock waits for all writers of tasks: one that folds meanwhile would be in a deadlock with the triggers' creation.
CREATE = """
LOCK TABLE tasks_task IN SHARE ROW EXCLUSIVE MODE;
ALTER FUNCTION tasks_count_fold() RENAME TO tasks_count_fold_rows;
CREATE FUNCTION tasks_count_fold() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('vazifa.sums_up_tasks', 'on', true);
    PERFORM tasks_count_fold_rows();
    PERFORM set_config('vazifa.sums_up_tasks', '', true);
END $$;

CREATE FUNCTION tasks_count_leaves_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER tasks_count_not_loaded BEFORE INSERT ON tasks_count FOR EACH ROW
    WHEN (current_setting('vazifa.sums_up_tasks', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION tasks_count_leaves_out();
CREATE TRIGGER tasks_count_change_not_loaded BEFORE INSERT ON tasks_count_change FOR EACH ROW
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION tasks_count_leaves_out();

-- The search_path of pg_dump, pg_restore and logical replication is empty.
DO $$
DECLARE
    own regprocedure;
BEGIN
    FOR own IN SELECT pg_proc.oid FROM pg_proc JOIN pg_class ON relnamespace = pronamespace
        WHERE pg_class.oid = 'tasks_task'::regclass AND proname LIKE 'tasks\\_count%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', own,
            (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'tasks_task'::regclass));
    END LOOP;
END $$;
"""
DROP = """
LOCK TABLE tasks_task IN SHARE ROW EXCLUSIVE MODE;
DROP TRIGGER tasks_count_not_loaded ON tasks_count;
DROP TRIGGER tasks_count_change_not_loaded ON tasks_count_change;
DROP FUNCTION tasks_count_leaves_out();
DROP FUNCTION tasks_count_fold();
ALTER FUNCTION tasks_count_fold_rows() RENAME TO tasks_count_fold;
ALTER FUNCTION tasks_count_fold() RESET search_path;
ALTER FUNCTION tasks_count_changed() RESET search_path;
"""


def on_postgresql(sql):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql, params=None)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0008_shorter_list_of_new_texts'),
    ]

    operations = [
        migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP)),
    ]
