"""The service for a WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

# Whoever forgets to say which settings gets those that refuse to start with too little.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_wsgi_application()
