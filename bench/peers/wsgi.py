"""What gunicorn serves; Celery's application is there before any task is sent, as the lesson wants it."""

from django.core.wsgi import get_wsgi_application

import bench.peers.celery  # noqa: F401

application = get_wsgi_application()
