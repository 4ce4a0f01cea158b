wsgi_app = find_app()
