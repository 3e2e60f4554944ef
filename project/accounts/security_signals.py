"""Records security events as Django reports them: at every door, in the admin, in commands and in code.

`QuerySet.update` of users reports nothing, in Django: what it changes is not recorded.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.http import HttpRequest

from project.accounts.hashing import hashing_slots
from project.accounts.security_events import Kind, record
from project.accounts.tokens.families import keep_families

RIGHTS = ("is_active", "is_staff", "is_superuser")
WATCHED = ("password", *RIGHTS)
SIGNS = {"post_add": "+", "post_remove": "-", "pre_clear": "-"}
MAX_NAMED = 20
NEW = User()


def note_login(*, request: HttpRequest | None, user: User, **_signal: Any) -> None:
    record(Kind.LOGIN, request=request, user=user)


def note_logout(*, request: HttpRequest | None, user: User | None, **_signal: Any) -> None:
    if user is not None:
        record(Kind.LOGOUT, request=request, user=user)


def note_failure(*, credentials: Mapping[str, Any], request: Any = None, **_signal: Any) -> None:
    """Record a failed sign-in by the account as it was typed. Django has removed the password from the credentials."""
    record(Kind.LOGIN_FAILED, request=request, account=str(credentials.get(User.USERNAME_FIELD, "")))


def read_before(*, instance: User, raw: bool, update_fields: Any = None, **_signal: Any) -> None:
    """Read what the row has of the columns that are watched and are about to be written."""
    names = [name for name in WATCHED if not raw and (update_fields is None or name in update_fields)]
    before = User.objects.filter(pk=instance.pk).values(*names).first() if names and instance.pk else None
    instance.before_save = before or {name: getattr(NEW, name) for name in names}  # type: ignore[attr-defined]


def note_change(*, instance: User, created: bool, **_signal: Any) -> None:
    """Record which of these columns have changed.

    Another hash of the password that is checked at this sign-in, by a newer method, is no change: other sign-ins stay.
    """
    before: dict[str, Any] = instance.__dict__.pop("before_save", {})
    changed = {name: old for name, old in before.items() if getattr(instance, name) != old}
    if "password" in changed and not created:
        if hashing_slots.is_held():
            keep_families(instance, changed["password"])
        else:
            record(Kind.PASSWORD, user=instance)
    rights = [f"{name}: {old} → {getattr(instance, name)}" for name, old in changed.items() if name in RIGHTS]
    if rights:
        record(Kind.RIGHTS, user=instance, detail=", ".join(rights))


def note_members(*, sender: Any, instance: Any, action: str, model: Any, pk_set: Any, **_signal: Any) -> None:
    """Record changes of a user's groups and permissions, of a group's permissions and members."""
    sign = SIGNS.get(action)
    if sign is None or pk_set == set():
        return
    others = model.objects.all() if pk_set is None else model.objects.filter(pk__in=pk_set)
    names = ", ".join("all" if pk_set is None else str(each) for each in others[: 1 if pk_set is None else MAX_NAMED])
    detail = f"{model._meta.verbose_name_plural}: {sign} {names}"
    if isinstance(instance, User):
        record(Kind.RIGHTS, user=instance, detail=detail)
    else:
        record(Kind.RIGHTS, account="", detail=f"{instance._meta.verbose_name} {instance}: {detail}")


def note_group_deleted(*, instance: Group, **_signal: Any) -> None:
    """Record that the members of a group have lost what it allowed: Django reports no change of them."""
    record(Kind.RIGHTS, detail=f"{instance._meta.verbose_name} {instance}: deleted")


def connect_signals() -> None:
    """Connect the receivers, each once."""
    user_logged_in.connect(note_login, dispatch_uid="project.accounts")
    user_logged_out.connect(note_logout, dispatch_uid="project.accounts")
    user_login_failed.connect(note_failure, dispatch_uid="project.accounts")
    pre_save.connect(read_before, sender=User, dispatch_uid="project.accounts")
    post_delete.connect(note_group_deleted, sender=Group, dispatch_uid="project.accounts")
    post_save.connect(note_change, sender=User, dispatch_uid="project.accounts")
    for through in (User.groups.through, User.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(note_members, sender=through, dispatch_uid="project.accounts")
