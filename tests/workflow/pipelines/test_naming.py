"""Names from templates: readable where they can be, fit for any file system always."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.naming import fields, fill, safe_name

FACTS = {"OBJECT": "M 51", "FILTER": "Ha", "stem": "light_1", "folder": "night 1/raw", "branch": ""}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{OBJECT}_{FILTER}", "M-51_Ha"),
        ("{object}", "M-51"),
        ("{stem}_{branch}", "light_1"),
        ("{branch}_{stem}", "light_1"),
        ("{OBJECT}-{branch}-{FILTER}", "M-51-Ha"),
        ("{folder}_{stem}", "night-1__raw_light_1"),
        ("{folder}/{stem}", "night-1/raw/light_1"),
        ("{branch}/{stem}", "light_1"),
        ("{OBJECT}/{FILTER}/{stem}", "M-51/Ha/light_1"),
    ],
)
def test_a_template_is_filled_in(template: str, name: str) -> None:
    assert fill(template, FACTS) == name


def test_fields_are_named_once_in_their_order() -> None:
    assert fields("{a}_{b c}_{a}") == ("a", "b c")


def test_an_unknown_field_is_named_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match=r"\{FILTRE\}.*did you mean \{FILTER\}"):
        fill("{FILTRE}", FACTS)
    with pytest.raises(UsageError, match="there are FILTER, OBJECT"):
        fill("{zzz}", FACTS)


@pytest.mark.parametrize(
    "template", ["{", "a}", "{{stem}", "../{stem}", "/{stem}", "a\\b", "{branch}", "a/.."]
)
def test_what_is_no_name_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        fill(template, FACTS)


@given(st.text())
def test_a_safe_name_is_fit_for_any_file_system(text: str) -> None:
    name = safe_name(text)
    assert len(name.encode()) <= 150
    assert not set(name) & set('/\\:*?"<>|\0\n\t ')
    assert not name.startswith((".", "-"))
    assert not name.endswith((".", "-", "_", " "))
    assert safe_name(name) == name


@given(st.text(min_size=1), st.text(min_size=1))
def test_values_never_lead_out_of_the_folder(one: str, two: str) -> None:
    try:
        name = fill("{folder}/{a}_x", {"folder": one, "a": two})
    except UsageError:
        return
    assert not name.startswith("/")
    assert ".." not in name.split("/")
    assert "." not in name.split("/")


def test_long_names_stay_different() -> None:
    one, two = safe_name("a" * 300 + "1"), safe_name("a" * 300 + "2")
    assert one != two
