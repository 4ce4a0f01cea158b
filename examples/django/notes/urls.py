from django.urls import path

from . import views

app_name = "notes"
urlpatterns = [
    path("", views.IndexView.as_view(), name="index"),
    path("notes/new/", views.NoteCreateView.as_view(), name="create"),
    path("notes/<int:pk>/", views.NoteView.as_view(), name="detail"),
    path("notes/<int:pk>/attach/", views.attach, name="attach"),
    path("attachments/<int:pk>/", views.download, name="download"),
    path("api/notes/", views.api, name="api"),
    path("stream/", views.stream, name="stream"),
    path("environ/", views.environ, name="environ"),
    path("error/", views.error, name="error"),
]
