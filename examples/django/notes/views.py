"""The pages: each shows one thing a WSGI server has to get right."""

import time
from collections.abc import Iterator

from django.contrib import messages
from django.contrib.auth.decorators import user_passes_test
from django.db.models import Count
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST, require_safe
from django.views.generic import CreateView, DetailView, ListView

from .forms import AttachmentForm, NoteForm
from .models import Attachment, Note


class IndexView(ListView):
    """All notes, newest first."""

    queryset = Note.objects.select_related("author").annotate(files=Count("attachments")).order_by("-created", "-id")
    paginate_by = 10


class NoteView(DetailView):
    """One note with its attachments."""

    queryset = Note.objects.select_related("author").prefetch_related("attachments")
    extra_context = {"form": AttachmentForm()}


class NoteCreateView(CreateView):
    """The form: a POST with a CSRF token, then a redirect and a message. The session counts what this browser wrote."""

    model = Note
    form_class = NoteForm

    def form_valid(self, form: NoteForm) -> HttpResponse:
        if self.request.user.is_authenticated:
            form.instance.author = self.request.user
        session = self.request.session
        session["written"] = session.get("written", 0) + 1
        messages.success(self.request, "Your note is kept.")
        return super().form_valid(form)


@require_POST
def attach(request: HttpRequest, pk: int) -> HttpResponse:
    """The upload: `multipart/form-data`, spooled to a file by Django where it is large."""
    note = get_object_or_404(Note, pk=pk)
    form = AttachmentForm(request.POST, request.FILES, instance=Attachment(note=note))
    if not form.is_valid():
        return render(request, "notes/note_detail.html", {"note": note, "form": form}, status=422)
    attachment = form.save()
    messages.success(request, f"{attachment.name} is attached: {attachment.size} octets.")
    return redirect(note)


@require_safe
def download(request: HttpRequest, pk: int) -> FileResponse:
    """The download: `FileResponse` hands the open file to the server's `wsgi.file_wrapper`."""
    attachment = get_object_or_404(Attachment, pk=pk)
    return FileResponse(attachment.file.open("rb"), as_attachment=True, filename=attachment.name)


@require_safe
def api(request: HttpRequest) -> JsonResponse:
    """The same list for programs."""
    notes = Note.objects.annotate(files=Count("attachments")).order_by("-created", "-id")
    return JsonResponse({"notes": list(notes.values("id", "title", "place", "created", "files")[:100])})


@require_safe
def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A page that is sent while it is being made: `?lines=20&pause=250`, the pause in milliseconds."""
    lines = number(request, "lines", default=20, most=100)
    pause = number(request, "pause", default=250, most=1000) / 1000
    top, bottom = render_to_string("notes/stream.html", {"lines": lines}, request).split("<!-- lines -->")

    def page() -> Iterator[str]:
        start = time.monotonic()
        yield top
        for line in range(1, lines + 1):
            yield f"<li>Line {line} left the app after {time.monotonic() - start:.2f} s</li>\n"
            if line < lines:
                time.sleep(pause)
        yield bottom

    return StreamingHttpResponse(page())


def number(request: HttpRequest, name: str, default: int, most: int) -> int:
    """A number from the query, between 0 and `most`."""
    text = request.GET.get(name, "")
    return min(int(text), most) if text.isdecimal() and text.isascii() else default


@user_passes_test(lambda user: user.is_staff)
def environ(request: HttpRequest) -> HttpResponse:
    """The WSGI environ of this request; for staff only, as it shows cookies."""
    return render(request, "notes/environ.html", {"environ": sorted((key, repr(value)) for key, value in request.META.items())})


def error(request: HttpRequest) -> HttpResponse:
    """Fails, to show what a visitor and the log get to see."""
    raise RuntimeError("this page always fails")
