"""A request id and an access log, as sites write them."""

import logging
import time
import uuid

ACCESS = logging.getLogger("access")


class RequestIdMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.id = str(uuid.uuid4())
        response = self.get_response(request)
        response["X-Request-ID"] = request.id
        return response


class AccessLogMiddleware:
    """The combined format, as nginx writes it by default."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        environ = request.META
        size = "-" if response.streaming else len(response.content)
        ACCESS.info(
            '%s - - [%s] "%s %s %s" %s %s "%s" "%s"', environ["REMOTE_ADDR"], time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()), request.method,
            request.get_full_path(), environ["SERVER_PROTOCOL"], response.status_code, size, environ.get("HTTP_REFERER", "-"), environ.get("HTTP_USER_AGENT", "-"),
        )
        return response
