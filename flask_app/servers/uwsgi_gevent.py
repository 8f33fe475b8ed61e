"""``application`` for uWSGI's gevent loop behind its router, which hands on what it should refuse."""

from servers.strict_http import strict
from servers.wsgi_gevent import application as flask_application

# The router closes the client's connection when the reply says so.
application = strict(flask_application)
