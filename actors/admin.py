"""Takes django_dramatiq's table of messages out of the admin: nothing fills it here, so it would show nothing, and
its name is that of our tasks."""

from django.contrib import admin
from django_dramatiq.models import Task as DramatiqTask

admin.site.unregister(DramatiqTask)
