"""A Django site in one file."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    DEBUG=False,
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["test"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)


def index(request):
    return HttpResponse(f"hello {request.GET.get('name', 'world')} at {request.build_absolute_uri()}")


@csrf_exempt
def echo(request):
    files = {name: upload.read().decode() for name, upload in request.FILES.items()}
    return JsonResponse({"form": request.POST.dict(), "files": files})


def stream(request):
    return StreamingHttpResponse(f"line {n}\n" for n in range(1000))


def source(request):
    return FileResponse(open(__file__, "rb"))


urlpatterns = [path("", index), path("echo", echo), path("stream", stream), path("source", source)]
application = get_wsgi_application()
