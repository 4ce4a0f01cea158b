from django import forms

from .models import Attachment, Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ["title", "place", "text"]


class AttachmentForm(forms.ModelForm):
    class Meta:
        model = Attachment
        fields = ["file"]
