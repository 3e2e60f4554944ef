"""The service for a WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

# By default the production settings, which refuse to start if a variable that they require is missing.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_wsgi_application()
