"""The admin's name, and users: deleting one is a job of the workers, because they may have any number of tasks."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from actors.outbox.admin.bounded import BoundedAdmin
from actors.outbox.models import State
from tasks.activity import deletions, start_deletion, stop_deletion
from tasks.models import Task
from tasks.user_deletion import tasks_left

admin.site.site_header = admin.site.site_title = "Vazifa"
admin.site.unregister((Group, User))


@admin.register(Group)
class GroupAdmin(BoundedAdmin[Group], DjangoGroupAdmin):
    """Django's admin of groups, with bounded lists."""


@admin.register(User)
class UserAdmin(BoundedAdmin[User], DjangoUserAdmin[User]):
    """Django's admin of users, with deletions as jobs, and how far they are."""

    list_display = (*DjangoUserAdmin.list_display, "deletion")  # type: ignore[misc]
    readonly_fields = ("deletion",)
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), (gettext_lazy("Deletion"), {"fields": ("deletion",)}))
    actions = ("delete_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(deletion_state=Subquery(deletions(OuterRef("pk")).values("state")[:1]))

    @admin.display(description=gettext_lazy("deletion"))
    def deletion(self, user: User) -> str:
        """Say how far the deletion of a user is, if it was started and has not been stopped."""
        state = getattr(user, "deletion_state", None)
        if state is None:
            return "-"
        left = {"count": tasks_left(user.pk)}
        if state == State.DEAD:
            return _("failed, with %(count)d tasks left: see the dead letters") % left
        return _("being deleted, %(count)d tasks left") % left

    def get_deleted_objects(
        self, objs: QuerySet[Any] | Sequence[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[Any], list[Any]]:
        """Return what the pages show before a deletion: the users, and how many tasks they have; Django lists all."""
        users, tasks = User._meta, Task._meta
        counts = {users.verbose_name_plural: len(objs), tasks.verbose_name_plural: sum(tasks_left(u.pk) for u in objs)}
        is_allowed = self.has_delete_permission(request), request.user.has_perm("tasks.delete_task")
        names = (users.verbose_name, tasks.verbose_name)
        missing = {name for name, allowed in zip(names, is_allowed, strict=True) if not allowed}
        return [str(user) for user in objs], counts, missing, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        self.delete_queryset(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: Iterable[User]) -> None:
        for user in queryset:
            start_deletion(user)
            text = _("%(user)s is deactivated, and is being deleted with %(count)d tasks.")
            self.message_user(request, text % {"user": user, "count": tasks_left(user.pk)})

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        """Lead back to the list. Django would say that the user is deleted by now."""
        page = "auth_user_changelist" if self.has_view_or_change_permission(request) else "index"
        return HttpResponseRedirect(reverse(f"admin:{page}"))

    @admin.action(permissions=("delete",), description=delete_selected.short_description)  # type: ignore[attr-defined]
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask, as Django's action does, and start the deletions."""
        if not request.POST.get("post"):
            return delete_selected(self, request, queryset)
        if self.get_deleted_objects(queryset, request)[2]:
            raise PermissionDenied
        self.log_deletions(request, queryset)
        self.delete_queryset(request, queryset)
        return None

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if obj.is_active and getattr(obj, "deletion_state", None):
            stop_deletion(obj)
            text = _("%(user)s is active again: their deletion stops, with %(count)d tasks left.")
            self.message_user(request, text % {"user": obj, "count": tasks_left(obj.pk)}, messages.WARNING)
