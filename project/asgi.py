"""The service for an ASGI server."""

import os

from django.core.asgi import get_asgi_application

# Without a choice of settings, those that refuse to start with less than they need.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_asgi_application()
