"""JSON: DRF's parser, made safe, and a renderer that writes the bytes of DRF's by orjson, many times as fast."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

# Old JavaScript reads these as line ends, even in a string; DRF always escapes them.
LINE_ENDS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS

_default = JSONEncoder().default


class SafeJSONParser(JSONParser):
    """Also refuses JSON that is nested too deeply, for which Python raises no ValueError."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError(_("The JSON is nested too deeply.")) from None


class FastJSONRenderer(JSONRenderer):
    """Renders by orjson; data that orjson refuses, and indented JSON, by DRF."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is not None and self.get_indent(accepted_media_type or "", renderer_context or {}) is None:
            try:
                return _escaped(orjson.dumps(data, _default, OPTIONS))
            except orjson.JSONEncodeError:
                pass
        return super().render(data, accepted_media_type, renderer_context)


def _escaped(text: bytes) -> bytes:
    for end, escape in LINE_ENDS.items():
        if end in text:
            text = text.replace(end, escape)
    return text
