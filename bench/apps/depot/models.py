from django.db import models


class Supplier(models.Model):
    name = models.CharField(max_length=80)
    country = models.CharField(max_length=40)

    def __str__(self):
        return self.name


class Item(models.Model):
    code = models.CharField(max_length=12, unique=True)
    name = models.CharField(max_length=80)
    supplier = models.ForeignKey(Supplier, on_delete=models.CASCADE)
    shelf = models.CharField(max_length=8)
    stock = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    counted = models.DateTimeField()
    note = models.TextField()
