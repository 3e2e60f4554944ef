"""The service for a WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

# Without a choice of settings, those that refuse to start with less than they need.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_wsgi_application()
