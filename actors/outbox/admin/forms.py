"""Forms for an operator's decision on messages: the reason, and for an edited replay the new message."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from actors.outbox.dead_letters import payload
from actors.outbox.dead_letters.payload import UnfitMessage
from actors.outbox.models import OutboxMessage


class DecisionForm(forms.Form):
    """Asks for the reason."""

    why = forms.CharField(
        label=_("Why"), max_length=2_000, widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
    )
    seen_until = forms.DateTimeField(required=False, widget=forms.HiddenInput)
    """When the latest of the messages that the operator was shown died, or was sent: later ones are not decided on."""


class EditForm(DecisionForm):
    """Asks for the edited message and the reason."""

    message = forms.CharField(
        label=_("Message"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 16, "class": "vLargeTextField", "spellcheck": "false"}),
    )
    field_order = ("message", "why")

    def __init__(self, *args: Any, row: OutboxMessage, **kwargs: Any) -> None:
        fields = json.dumps(payload.fields_of(row), ensure_ascii=False).encode("utf-8", "backslashreplace")
        super().__init__(*args, **kwargs)
        self.initial["message"] = payload.legible(fields)
        self.row = row

    def clean_message(self) -> bytes:
        """Return the message, encoded as it will be sent."""
        try:
            return payload.edit(self.row, payload.parse(self.cleaned_data["message"]))
        except (ValueError, RecursionError, UnfitMessage) as error:
            raise ValidationError(str(error)) from error
