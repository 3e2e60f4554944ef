"""JSON as DRF writes it, byte for byte, by orjson, which is many times as fast."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

# Old JavaScript takes these for line ends, even in a string; DRF always escapes them.
LINE_ENDS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS

_default = JSONEncoder().default


class FastJSONRenderer(JSONRenderer):
    """DRF's JSON renderer on orjson; data that orjson refuses, and an indent, are left to DRF."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is not None and not self._is_indented(accepted_media_type, renderer_context or {}):
            try:
                return _escaped(orjson.dumps(data, _default, OPTIONS))
            except orjson.JSONEncodeError:
                pass
        return super().render(data, accepted_media_type, renderer_context)

    def _is_indented(self, accepted_media_type: str | None, context: Mapping[str, Any]) -> bool:
        wanted = accepted_media_type is not None and accepted_media_type != self.media_type
        return (wanted or "indent" in context) and self.get_indent(
            accepted_media_type or self.media_type, context
        ) is not None


def _escaped(text: bytes) -> bytes:
    for end, escape in LINE_ENDS.items():
        if end in text:
            text = text.replace(end, escape)
    return text
