"""A module with the usual name."""

from plain import hello as application
from plain import empty as app
