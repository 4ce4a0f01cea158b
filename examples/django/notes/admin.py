from django.contrib import admin

from .models import Attachment, Note


class AttachmentInline(admin.TabularInline):
    model = Attachment
    extra = 0
    readonly_fields = ["name", "size", "digest"]

    @admin.display(description="SHA-256")
    def digest(self, attachment: Attachment) -> str:
        return f"{attachment.sha256[:16]}…"

    def has_change_permission(self, request, obj=None) -> bool:
        # Size and digest are taken once, when the file arrives.
        return False


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["title", "place", "author", "created"]
    list_filter = ["created", "author"]
    search_fields = ["title", "place", "text"]
    date_hierarchy = "created"
    inlines = [AttachmentInline]

    def save_model(self, request, obj, form, change) -> None:
        if not change:
            obj.author = request.user
        super().save_model(request, obj, form, change)
