# The service's image: one for web, worker and migrations, which differ in their command.
# It has the interpreter, a virtual environment and the code, and runs as a user who can write to none of them.

FROM python:3.11-slim AS base
# The build has the environment of the service: it collects static files into the folder from which they are served.
# No LOG_FILE: in a container the terminal is the log.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=settings.production \
    STATIC_ROOT=/app/static \
    LOG_FILE=
WORKDIR /app

FROM base AS build
COPY requirements/runtime.txt /tmp/runtime.txt
# Wheels only: if one is missing, the build fails at once, instead of needing a compiler halfway.
RUN /usr/local/bin/python -m venv --without-pip /opt/venv \
    && /usr/local/bin/python -m pip --python /opt/venv/bin/python install \
       --no-cache-dir --only-binary=:all: --require-hashes --requirement /tmp/runtime.txt
COPY settings settings/
COPY project project/
COPY tasks tasks/
COPY actors actors/
COPY locale locale/
COPY manage.py gunicorn.conf.py pyproject.toml ./
# Production settings require these four, and a key that is not weak; collecting files uses none of them, and no layer
# keeps them.
# Files that only their owner may read in the working copy (umask 077) have to be readable for the service's user.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" \
    DATABASE_URL=sqlite://:memory: RABBITMQ_URL=amqp://not:used@unused/ ALLOWED_HOSTS=unused \
    python manage.py collectstatic --noinput \
    && chmod -R u=rwX,go=rX /app

FROM base
RUN groupadd --gid 10001 vazifa \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vazifa
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# By number: an orchestrator can see that it is not root without reading /etc/passwd.
USER 10001:10001
ENV BIND=0.0.0.0:8000
EXPOSE 8000
# Checks whether the process answers, not whether its database does: a restart cures only the former. The Host header is
# one that ALLOWED_HOSTS accepts. Commands that serve no HTTP need another check, or none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
host = os.environ['ALLOWED_HOSTS'].split(',')[0].strip().lstrip('.*') or 'localhost'; \
web = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); \
web.request('GET', '/health/live/', headers={'Host': host}); \
sys.exit(web.getresponse().status != 200)"]
CMD ["gunicorn", "project.wsgi"]
