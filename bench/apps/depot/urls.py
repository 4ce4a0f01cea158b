from django.urls import path

from . import views

urlpatterns = [
    path("api/items/<str:code>/", views.item, name="api"),
    path("items/", views.items, name="items"),
    path("items/<str:code>/", views.items, name="item"),
    path("suppliers/<int:pk>/", views.items, name="supplier"),
    path("report/", views.report, name="report"),
    path("report/kept/", views.kept_report, name="kept-report"),
]
