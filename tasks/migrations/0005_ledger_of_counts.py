from django.db import migrations

# How many tasks each owner has, to be done and completed, and how many there are: the sum over both tables. Read by
# `tasks.listing.count_ledger`.
#
# A change of `tasks_task` adds what it changes to `tasks_count_change`, in its own transaction: rows that are only ever
# added, so that no writer waits for another. About every 128th writer folds them into `tasks_count`: it takes those
# rows that it sees and no other transaction has locked, and puts their sum in their place. Both become visible with its
# commit, so every snapshot has every change once.
CREATE = """
CREATE TABLE tasks_count (owner_id bigint, completed boolean NOT NULL, change bigint NOT NULL);
CREATE INDEX tasks_count_of_owner ON tasks_count (owner_id, completed);
COMMENT ON TABLE tasks_count IS 'Sums of tasks_count_change, by owner; those without an owner are of all of them.';
CREATE TABLE tasks_count_change (owner_id bigint NOT NULL, completed boolean NOT NULL, change bigint NOT NULL);
COMMENT ON TABLE tasks_count_change IS 'By how many tasks there are more, since tasks_count was summed up.';
-- Neither has a key: a publication of all tables needs to be told by what to find a row.
ALTER TABLE tasks_count REPLICA IDENTITY FULL;
ALTER TABLE tasks_count_change REPLICA IDENTITY FULL;
-- Small and read whole: what is folded must not be left lying about.
ALTER TABLE tasks_count SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE tasks_count_change SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1);

CREATE FUNCTION tasks_count_fold() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Elsewhere a row that another transaction has folded since the snapshot is an error.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    WITH changes AS (
        DELETE FROM tasks_count_change
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM tasks_count_change FOR UPDATE SKIP LOCKED))
        RETURNING owner_id, completed, change
    ), sums AS (
        DELETE FROM tasks_count
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM tasks_count WHERE owner_id = ANY (ARRAY(SELECT owner_id FROM changes))
            FOR UPDATE SKIP LOCKED
        )) OR ctid = ANY (ARRAY(SELECT ctid FROM tasks_count WHERE owner_id IS NULL FOR UPDATE SKIP LOCKED))
        RETURNING owner_id, completed, change
    )
    INSERT INTO tasks_count (owner_id, completed, change)
    SELECT owner_id, completed, sum(change) FROM (
        SELECT * FROM changes UNION ALL SELECT NULL, completed, change FROM changes UNION ALL SELECT * FROM sums
    ) AS folded
    GROUP BY owner_id, completed HAVING sum(change) <> 0;
END $$;

CREATE FUNCTION tasks_count_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tasks_count_change SELECT owner_id, completed, count(*) FROM new_rows GROUP BY 1, 2;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tasks_count_change SELECT owner_id, completed, -count(*) FROM old_rows GROUP BY 1, 2;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO tasks_count_change SELECT owner_id, completed, sum(change) FROM (
            SELECT owner_id, completed, 1 AS change FROM new_rows
            UNION ALL SELECT owner_id, completed, -1 FROM old_rows
        ) AS both_states
        GROUP BY 1, 2 HAVING sum(change) <> 0;
    ELSE
        -- All is gone, the rows that this transaction does not see as well. (Files that are empty are left alone: it costs milliseconds.)
        IF pg_relation_size('tasks_count') + pg_relation_size('tasks_count_change') > 0 THEN
            TRUNCATE tasks_count, tasks_count_change;
        END IF;
        RETURN NULL;
    END IF;
    IF FOUND AND random() < 1.0 / 128 THEN
        PERFORM tasks_count_fold();
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks_task REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_changed();
CREATE TRIGGER tasks_count_updated AFTER UPDATE ON tasks_task REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_changed();
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks_task REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_changed();
CREATE TRIGGER tasks_count_truncated AFTER TRUNCATE ON tasks_task
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_changed();

-- No other transaction writes tasks until this one has ended: CREATE TRIGGER waited for those that did.
INSERT INTO tasks_count SELECT owner_id, completed, count(*) FROM tasks_task
    GROUP BY GROUPING SETS ((owner_id, completed), (completed));
"""
DROP = """
DROP TRIGGER tasks_count_inserted ON tasks_task;
DROP TRIGGER tasks_count_updated ON tasks_task;
DROP TRIGGER tasks_count_deleted ON tasks_task;
DROP TRIGGER tasks_count_truncated ON tasks_task;
DROP FUNCTION tasks_count_changed();
DROP FUNCTION tasks_count_fold();
DROP TABLE tasks_count, tasks_count_change;
"""


def on_postgresql(sql):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql, params=None)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0004_idempotency_key'),
    ]

    operations = [
        migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP)),
    ]
