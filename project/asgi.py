"""The service for an ASGI server."""

import os

from django.core.asgi import get_asgi_application

# By default the production settings, which refuse to start if a variable that they require is missing.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_asgi_application()
