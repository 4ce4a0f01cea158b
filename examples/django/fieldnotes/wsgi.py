"""The WSGI application that the pipeline file names: `fieldnotes.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fieldnotes.settings")

application = get_wsgi_application()
