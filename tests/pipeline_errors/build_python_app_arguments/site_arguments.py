def app(request):
    return []
