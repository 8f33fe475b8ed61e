"""``application`` for servers with processes or threads."""

from app import create_app
from config import load
from database import Articles

application = create_app(Articles(load()))
