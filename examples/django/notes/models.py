"""A note, and the files attached to it."""

import hashlib

from django.conf import settings
from django.db import models
from django.urls import reverse


class Note(models.Model):
    """What somebody saw, and where."""

    title = models.CharField(max_length=120)
    place = models.CharField(max_length=120, blank=True)
    text = models.TextField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("notes:detail", args=[self.pk])


class Attachment(models.Model):
    """An uploaded file with what the server found it to be: its size and its SHA-256."""

    note = models.ForeignKey(Note, related_name="attachments", on_delete=models.CASCADE)
    file = models.FileField(upload_to="attachments/%Y/%m/")
    name = models.CharField(max_length=255, editable=False)
    size = models.PositiveBigIntegerField(editable=False)
    sha256 = models.CharField("SHA-256", max_length=64, editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created", "id"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args, **kwargs) -> None:
        if self._state.adding:
            digest = hashlib.sha256()
            for chunk in self.file.chunks():
                digest.update(chunk)
            self.name, self.size, self.sha256 = self.file.name, self.file.size, digest.hexdigest()
        super().save(*args, **kwargs)
