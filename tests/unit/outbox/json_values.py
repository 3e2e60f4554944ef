"""Hypothesis's strategies for what Python's JSON can hold: also NaN, infinities and lone surrogates."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)
# A machine under load is slow, and the first use of Unicode's tables is.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
