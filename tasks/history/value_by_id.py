"""Updates of many rows to a value each."""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Model
from django.db.models.sql.compiler import SQLCompiler


class ValueById(Expression):
    """The new value of a field by the row's id, for `update()`; a row without one keeps its own.

    Django's `bulk_update()` resolves and compiles an expression and a condition for each row and field, which takes
    longer than all the rest of such an update.
    """

    def __init__(self, model: type[Model], name: str, values: Mapping[int, Any]) -> None:
        field: Any = model._meta.get_field(name)
        super().__init__(output_field=field)
        self.values = values

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        field: Any = self.output_field
        key, column = (compiler.quote_name_unless_alias(each.column) for each in (field.model._meta.pk, field))
        params: list[Any] = []
        for pk, value in self.values.items():
            params += [pk, field.get_db_prep_save(value, connection)]
        return f"CASE {key} {'WHEN %s THEN %s ' * len(self.values)}ELSE {column} END", params
