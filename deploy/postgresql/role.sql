-- The service's role and database, in a new PostgreSQL of docker-compose.yml; the image runs this once, as its superuser.
-- The role owns its database and is no superuser: it may change its tables, create a trusted extension there (pg_trgm),
-- and see what other sessions hold (docs/operations.md#a-held-horizon), and nothing else.
\getenv password POSTGRES_PASSWORD
CREATE ROLE vazifa LOGIN PASSWORD :'password';
GRANT pg_read_all_stats TO vazifa;
CREATE DATABASE vazifa OWNER vazifa;

-- The image has given the superuser the same password. Without one it can log in only inside the container, over the
-- socket: docker compose exec postgres psql --username=postgres
ALTER ROLE CURRENT_USER PASSWORD NULL;
