"""One answer for programs, a page for people, and a page that is there already."""

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import cache_control

from .assets import REPORT
from .models import Item, Supplier

ROWS = 25


class Filter(forms.Form):
    text = forms.CharField(required=False, max_length=80, help_text="Part of a name or a code")
    shelf = forms.CharField(required=False, max_length=8)
    least = forms.IntegerField(required=False, min_value=0, label="In stock at least")
    supplier = forms.ModelChoiceField(Supplier.objects.order_by("name"), required=False)


def item(request, code):
    return JsonResponse(get_object_or_404(Item.objects.values("code", "name", "shelf", "stock", "price", "counted", "note"), code=code))


@login_required
def items(request):
    page = Paginator(Item.objects.select_related("supplier").order_by("code"), ROWS).get_page(request.GET.get("page"))
    return render(request, "depot/items.html", {"page": page, "filter": Filter(request.GET or None)})


def report(request):
    """A page that costs nothing to make, so that what is done to it shows."""
    return HttpResponse(REPORT)


@cache_control(public=True, max_age=3600)
def kept_report(request):
    """The same, for caches to keep."""
    return report(request)
