"""The site under `ziggurat.stack`, for any WSGI server."""

import ziggurat

from .wsgi import application

application = ziggurat.stack(application, [{"compress": {"with": ["gzip"], "level": 6, "above": "200B"}}])
