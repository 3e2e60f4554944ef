-- For a volume of an earlier release, in which `vazifa` is the superuser that made the cluster, and can be no other: it is
-- renamed to postgres, and a new vazifa, as role.sql makes it, gets the database and all in it. Run by another superuser,
-- because a session cannot rename its own role (docs/operations.md#upgrading).
\set ON_ERROR_STOP on
\getenv password POSTGRES_PASSWORD
BEGIN;
ALTER ROLE vazifa RENAME TO postgres;
ALTER ROLE postgres PASSWORD NULL;
CREATE ROLE vazifa LOGIN PASSWORD :'password';
GRANT pg_read_all_stats TO vazifa;
ALTER DATABASE vazifa OWNER TO vazifa;
-- REASSIGN OWNED refuses the role that made the cluster, because the catalogues are its own.
SELECT format('ALTER %s %s OWNER TO vazifa', kind, name)
FROM (
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
           pg_class.oid::regclass::text, 'pg_class'::regclass, pg_class.oid, relnamespace
    FROM pg_class
    -- A sequence of a column changes its owner with the table.
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND relkind = 'S' AND deptype IN ('a', 'i')
    )
    UNION ALL
    SELECT 'ROUTINE', pg_proc.oid::regprocedure::text, 'pg_proc'::regclass, pg_proc.oid, pronamespace FROM pg_proc
) AS objects (kind, name, class, object, namespace)
WHERE namespace = 'public'::regnamespace AND NOT EXISTS (  -- those of an extension stay its own
    SELECT FROM pg_depend WHERE classid = class AND objid = object AND deptype = 'e'
)
\gexec
COMMIT;
