"""The service for an ASGI server."""

import os

from django.core.asgi import get_asgi_application

# Whoever forgets to say which settings gets those that refuse to start with too little.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_asgi_application()
