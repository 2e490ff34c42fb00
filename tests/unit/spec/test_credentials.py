"""Credentials never enter, and are never repeated."""

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.credentials import names_one
from orchestrator.spec.service_file import parse_service, render_problems

SECRETS = [
    "hf_" + "aB3" * 11,
    "sk-" + "proj-" + "x9Y" * 10,
    "AKIA" + "ABCDEFGH12345678",
    "ghp_" + "a1B" * 12,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN RSA PRIVATE KEY-----",
]
PLACES = [
    "secrets: {HF_TOKEN: VALUE}",
    "secrets: VALUE",
    "secrets: [VALUE]",
    "envs: {PLAIN: VALUE}",
    "envs: {MY_TOKEN: VALUE}",
    "setup: VALUE",
    "report: {labels: {team: VALUE}}",
    "gateway: {host: VALUE}",
    "carbon: {max_age: VALUE}",
    "config: {deep: [{er: VALUE}]}",
    "slo: VALUE",
    "placement: {allow: [VALUE]}",
    "placement: {allow: VALUE}",
    "name: VALUE",
    "VALUE: 1",
    "carbon: {VALUE: 1}",
    "envs: {VALUE: 1}",
    "secrets: {VALUE: null}",
    "report: {labels: {VALUE: x}}",
    "model: {id: a/b, args: {VALUE: 1}}",
    "resources: {image_id: {VALUE: x}}",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_credential_is_refused_and_not_repeated(place: str, secret: str) -> None:
    """Wherever it stands, the file is refused, and no message holds it: messages end up in logs."""
    rest = [line for line in ("name: a", "model: {id: a/b}") if line[:4] != place[:4]]
    text = "\n".join([*rest, place.replace("VALUE", f'"{secret}"')])

    with pytest.raises(InvalidSpec) as caught:
        parse_service(text, "f.yaml")

    assert not any(secret.lower()[4:] in line.lower() for line in render_problems(caught.value))


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("HF_TOKEN", "abc", True),
        ("openai_api_key", "abc", True),
        ("DB_PASSWORD", 1234, True),
        ("HF_TOKEN", "", False),
        ("HF_TOKEN", None, False),
        ("HF_TOKEN", "$OTHER", False),
        ("HF_TOKEN", "${OTHER}", False),
        ("MAX_TOKENS", "100", False),
        ("TOKENIZER", "x", False),
        ("MODEL", "x", False),
    ],
)
def test_variables_that_are_called_like_credentials(name: str, value: object, is_one: bool) -> None:
    """A value beside such a name is one; an empty one or a reference is not."""
    assert names_one(name, value) is is_one
