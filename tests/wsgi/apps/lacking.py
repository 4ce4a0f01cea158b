"""Wants a module that is not there."""

import not_installed.anywhere
