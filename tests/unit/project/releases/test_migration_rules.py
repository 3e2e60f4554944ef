"""Migrations beside which the previous release could not run are refused, by what they do."""

import re
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models.functions import Now

from project.local.stack import ROOT
from project.releases import migration_rules
from project.releases.migration_rules import BASELINE, refusals

NEW_TABLE = migrations.CreateModel("reminder", [("id", models.BigAutoField(primary_key=True))])


def refused(*operations: Operation, declaration: str = "", application: str = "tasks") -> list[str]:
    """Return what is said of the migration that comes next in an application."""
    loader = MigrationLoader(None)
    body = {"operations": operations, "beside_previous_release": declaration}
    migration = type("Migration", (migrations.Migration,), body)("9999_next", application)
    [last] = loader.graph.leaf_nodes(application)
    key = (application, migration.name)
    loader.graph.add_node(key, migration)
    loader.graph.add_dependency(migration, key, last)
    return list(refusals(loader))


def field(field: Any) -> Operation:
    return migrations.AddField("task", "extra", field)


def reference(**options: Any) -> Any:
    return models.ForeignKey("auth.User", models.CASCADE, db_index=False, **options)


def altered(**options: Any) -> Operation:
    return migrations.AlterField(
        "task", "title", models.CharField(**{"verbose_name": "title", "max_length": 200, **options})
    )


def test_the_migrations_of_this_release_are_allowed() -> None:
    assert list(refusals(MigrationLoader(None))) == []


def test_the_baseline_names_migrations() -> None:
    assert set(BASELINE.items()) <= set(MigrationLoader(None).graph.nodes)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (field(models.IntegerField(default=0)), migration_rules.NOT_NULL),
        (field(models.IntegerField(db_default=0, unique=True)), migration_rules.UNIQUE),
        (field(models.IntegerField(null=True, db_index=True)), "writers wait"),
        (field(reference(null=True)), migration_rules.FOREIGN_KEY),
        (field(models.ForeignKey("self", models.CASCADE, null=True, db_index=False)), migration_rules.FOREIGN_KEY),
        (field(models.ManyToManyField("auth.User")), migration_rules.FOREIGN_KEY),
        (migrations.CreateModel("note", [("user", reference())]), migration_rules.FOREIGN_KEY),
        (migrations.RemoveField("task", "description"), "still names the column"),
        (migrations.RenameField("task", "title", "name"), "old name"),
        (migrations.RenameModel("Task", "Job"), "old table"),
        (migrations.AlterModelTable("task", "jobs"), "old table"),
        (migrations.DeleteModel("IdempotencyKey"), "still uses the table"),
        (altered(max_length=100), migration_rules.ALTERED),
        (altered(null=True), migration_rules.ALTERED),
        (altered(db_column="name"), migration_rules.ALTERED),
        (
            migrations.AlterField("task", "version", models.PositiveIntegerField("version", default=1, editable=False)),
            migration_rules.ALTERED,
        ),
        (migrations.AddIndex("task", models.Index(fields=["title"], name="by_title")), "writers wait"),
        (migrations.RemoveIndex("task", "task_by_age"), "may need it"),
        (migrations.AddConstraint("task", models.UniqueConstraint(fields=["title"], name="one")), "write rows"),
        (migrations.AlterUniqueTogether("task", {("title", "owner")}), "write rows"),
        (migrations.AlterOrderWithRespectTo("task", "owner"), migration_rules.UNKNOWN),
        (migrations.RunSQL("SELECT 1"), migration_rules.UNKNOWN),
        (migrations.RunPython(lambda apps, schema_editor: None), migration_rules.UNKNOWN),
        (
            migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("task", "title")]),
            "still names the column",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Operation) else "",
)
def test_what_the_previous_release_cannot_bear_is_refused(operation: Operation, why: str) -> None:
    [line] = refused(operation)
    assert line.startswith("tasks.9999_next: ")
    assert why in line
    assert refused(operation, declaration="No release reads it since 0.1.0.") == []


@pytest.mark.parametrize(
    "operations",
    [
        [field(models.IntegerField(null=True))],
        [field(models.DateTimeField(db_default=Now()))],
        [field(reference(null=True, db_constraint=False))],
        [altered(verbose_name="name", help_text="short", default="")],
        [altered(db_default="")],
        [migrations.AlterModelOptions("task", {"ordering": ["id"]})],
        [migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("task", "description")])],
        [
            NEW_TABLE,
            migrations.AddField("reminder", "at", models.DateTimeField(unique=True)),
            migrations.AddIndex("reminder", models.Index(fields=["at"], name="by_time")),
            migrations.AddField("reminder", "after", models.ForeignKey("tasks.reminder", models.CASCADE)),
            migrations.RemoveField("reminder", "at"),
        ],
    ],
    ids=lambda operations: operations[0].describe(),
)
def test_what_the_previous_release_does_not_notice_is_allowed(operations: list[Operation]) -> None:
    assert refused(*operations) == []


def test_a_constraint_that_is_added_later_is_a_new_one() -> None:
    column = migrations.AddField("task", "given_by", reference(null=True, db_constraint=False))
    [line] = refused(column, migrations.AlterField("task", "given_by", reference(null=True)))
    assert migration_rules.FOREIGN_KEY in line


def test_the_command_names_each_fault_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration_rules, "refusals", lambda loader: iter(["tasks.0012_x: Remove field: why."]))
    with pytest.raises(SystemExit) as ended:
        migration_rules.main()
    assert ended.value.code == f"tasks.0012_x: Remove field: why.\n{migration_rules.HINT}"


def test_make_lint_runs_it() -> None:
    target = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert target
    assert "$(BIN)/python -m project.releases.migration_rules\n" in target[1]
