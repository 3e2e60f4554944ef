"""Refuses migrations beside which the previous release could not run; `make lint` runs it, without a database.

Guarantee: each operation since `BASELINE` on a table that the previous release has is one that these rules know as
harmless, or its migration says in a sentence why the previous release runs beside it:

    class Migration(migrations.Migration):
        beside_previous_release = "No release reads or writes the column since 0.2.0."

Rules are about operations, not about SQL: this project's own SQL differs between PostgreSQL and SQLite, so it is in
RunPython, where no program can judge it (decision 0034).
"""

import os
import sys
from collections.abc import Collection, Iterator
from typing import Any

import django
from django.apps import apps
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field

# The last migration of each application that is not judged, with all that it depends on: those of the previous release,
# with which this moves forward (deploy/previous-release), and now also those that are older than these rules.
BASELINE = {
    "accounts": "0003_security_events",
    "actors": "0005_offset_of_a_moved_log",
    "outbox": "0009_installation",
    "tasks": "0011_owner_cascades_by_signal",
}
OURS = ("actors", "project", "tasks")
DECLARATION = "beside_previous_release"
HINT = (
    f"Change it (CONTRIBUTING.md, Migrations), or have the migration say why the previous release runs beside it: "
    f'{DECLARATION} = "…"'
)

Table = tuple[str, str]
"""The application and the name, in small letters, of a model."""

HARMLESS = (operations.AlterModelManagers, operations.AlterModelOptions, operations.AlterModelTableComment)
LATER = "stop using it in this release, and remove it in the next one"
REFUSED: dict[type[Operation], str] = {
    operations.RemoveField: f"the previous release still names the column in its statements: {LATER}",
    operations.DeleteModel: f"the previous release still uses the table: {LATER}",
    operations.RemoveConstraint: f"the previous release may rely on it: {LATER}",
    operations.RemoveIndex: f"the previous release may need it: {LATER}",
    operations.RenameField: "the previous release knows the old name: keep it (db_column), or add a column",
    operations.RenameModel: "the previous release knows the old table: keep it (db_table), or add one",
    operations.AlterModelTable: "the previous release knows the old table",
    operations.AddConstraint: "the previous release may write rows that it refuses",
    operations.AlterUniqueTogether: "the previous release may write rows that it refuses",
    operations.AddIndex: "writers wait while it is built: build it CONCURRENTLY, as tasks/migrations/0010 does",
}
UNKNOWN = "what it does cannot be judged here"
FOREIGN_KEY = (
    "the previous release deletes rows to which it refers, and knows nothing of it, so the database would refuse: "
    "db_constraint=False"
)
NOT_NULL = "the previous release inserts rows without it: null=True, or db_default"
UNIQUE = "the previous release inserts rows with the same default: null=True without db_default"
ALTERED = "the previous release reads and writes the column as it was: add another one"


def refusals(loader: MigrationLoader) -> Iterator[str]:
    """Yield a line for each operation beside which the previous release could not run.

    Args:
        loader: the migrations; it needs no connection.
    """
    graph, state = loader.graph, ProjectState()
    ours = {each.label for each in apps.get_app_configs() if each.name.split(".")[0] in OURS}
    plan = list(dict.fromkeys(key for leaf in sorted(graph.leaf_nodes()) for key in graph.forwards_plan(leaf)))
    before = {key for leaf in BASELINE.items() for key in graph.forwards_plan(leaf)}
    # Other packages have rules of their own.
    judged = [key for key in plan if key[0] in ours and key not in before]
    for key in plan:
        if key not in judged:
            state = graph.nodes[key].mutate_state(state, preserve=False)
    known = set(state.models)
    for key in judged:
        yield from _refusals_of(graph.nodes[key], state, known)


def _refusals_of(migration: Migration, state: ProjectState, known: Collection[Table]) -> Iterator[str]:
    for operation in migration.operations:
        if not getattr(migration, DECLARATION, ""):
            for each in getattr(operation, "database_operations", [operation]):
                for reason in _reasons(each, migration.app_label, state, known):
                    yield f"{migration.app_label}.{migration.name}: {each.describe()}: {reason}."
        operation.state_forwards(migration.app_label, state)


def _reasons(operation: Operation, label: str, state: ProjectState, known: Collection[Table]) -> Iterator[str]:
    """Yield why the previous release could not run beside an operation.

    Args:
        operation: the operation.
        label: of its application.
        state: the tables before it.
        known: the tables that the previous release has.
    """
    names = (getattr(operation, name, "") for name in ("model_name", "name", "old_name"))
    table = (label, next(filter(None, names), "").lower())
    match operation:
        case operations.CreateModel():
            for _, field in operation.fields:
                yield from _reasons_of_reference(field, table, known)
        case operations.AddField():
            yield from _reasons_of_reference(operation.field, table, known)
            if table in known:
                yield from _reasons_of_column(operation.field)
        case operations.AlterField():
            before = state.models[table].fields[operation.name]
            if not _has_constraint(before):
                yield from _reasons_of_reference(operation.field, table, known)
            if table in known and _is_altered(before, operation.field):
                yield ALTERED
        case operations.RunPython() | operations.RunSQL():
            yield UNKNOWN
        case _ if table in known and not isinstance(operation, HARMLESS):
            yield REFUSED.get(type(operation), UNKNOWN)


def _reasons_of_reference(field: "Field[Any, Any]", table: Table, known: Collection[Table]) -> Iterator[str]:
    relation = field.remote_field
    if relation is not None and _has_constraint(field):
        application, _, name = str(relation.model).lower().rpartition(".")
        target = table if name == "self" else (application or table[0], name)
        if target in known:
            yield FOREIGN_KEY


def _has_constraint(field: "Field[Any, Any]") -> bool:
    """Return whether the database checks that what a field refers to exists."""
    relation = field.remote_field
    # That of a field with a table in between is the relation's.
    return relation is not None and getattr(field, "db_constraint", getattr(relation, "db_constraint", False))


def _reasons_of_column(field: Any) -> Iterator[str]:
    if field.many_to_many or getattr(field, "generated", False):
        return
    has_default = field.db_default is not NOT_PROVIDED
    if not field.null and not has_default:
        yield NOT_NULL
    if field.unique and has_default:
        yield UNIQUE
    elif field.db_index or field.unique:
        yield REFUSED[operations.AddIndex]


def _is_altered(before: "Field[Any, Any]", after: "Field[Any, Any]") -> bool:
    """Return whether a field differs in the database, but for what is harmless: a constraint less, another default."""
    harmless = {*after.non_db_attrs, "db_comment", "db_constraint", "default"} - {"db_column"}
    if after.db_default is not NOT_PROVIDED:
        harmless.add("db_default")

    def stored(field: "Field[Any, Any]") -> tuple[str, list[Any], dict[str, Any]]:
        _, path, arguments, options = field.deconstruct()
        return path, list(arguments), {name: value for name, value in options.items() if name not in harmless}

    return stored(before) != stored(after)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    django.setup()
    found = list(refusals(MigrationLoader(None)))
    if found:
        sys.exit("\n".join([*found, HINT]))


if __name__ == "__main__":
    main()
