"""Ziggurat in a Django project: `INSTALLED_APPS += ["ziggurat.django"]`.

It adds the command `manage.py ziggurat`, which serves the site during development, and system checks that compare the settings with the
pipeline file.
"""
