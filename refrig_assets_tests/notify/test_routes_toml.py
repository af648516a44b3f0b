"""The routing file: what is right is read, what is wrong is named with file, key and remedy; no literal secrets."""

from pathlib import Path

import pytest

from refrig_assets.notify.address import AddressError, open_address
from refrig_assets.notify.routes_toml import RoutingError, parse_routing, read_routing
from refrig_assets.notify.routing import Channel
from refrig_assets.notify.secrets import Scrubber, SecretError, filled

ROUTE = '[[routes]]\nchannels = ["a"]\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "notify" / "notify.toml"


def channel(url: str, more: str = "") -> str:
    return f'[channels.a]\nurl = "{url}"\n{more}\n{ROUTE}'


GOOD = channel("json://127.0.0.1/x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[channels", "not valid TOML"),
        (ROUTE, "[channels.NAME] is missing"),
        ('[channels.a]\nurl = "json://h"', "[[routes]] is missing"),
        ("[channels.a]\n" + ROUTE, "[channels.a] needs url"),
        (channel("nonsense"), "no Apprise address"),
        (channel("json://h", "timeout_s = 0"), "timeout_s of [channels.a] must be from 0.1 to 120, not 0"),
        (channel("json://h", 'fallback = "b"'), "fallback of [channels.a]: 'b' is unknown"),
        (channel("json://h/{maintenance_contct}"), "did you mean 'maintenance_contact'"),
        (channel("json://h", "urll = 1"), "urll of [channels.a] is unknown (did you mean 'url'?)"),
        (GOOD + 'severity = ["HIGH"]', "severity of [routes 1] is unknown (did you mean 'severities'?)"),
        (GOOD + 'severities = ["HIHG"]', "severities of [routes 1]: 'HIHG' is unknown (did you mean 'HIGH'?)"),
        (GOOD + 'name = "night"\nkinds = ["alerts"]', "kinds of [routes 1, 'night']"),
        (GOOD + "severities = []", "must be a list of one or more texts"),
        (GOOD + 'hours = "8-18"', "'8' is not a time of day like 22:00"),
        (GOOD + 'quiet = "22:00"', 'must be like "22:00-06:00"'),
        (GOOD + 'quiet = "22:00-22:00"', "begins when it ends"),
        (GOOD + 'timezone = "Berlin"', "give an IANA name"),
        (GOOD + 'send = "weekly"', "must be one of now, hourly, daily"),
        (GOOD + "resolved = 1", "resolved of [routes 1] must be bool"),
        (GOOD.replace('["a"]', '["b"]'), "channels of [routes 1]: 'b' is unknown"),
        ("storm_above = 0\n" + GOOD, "storm_above must be from 1"),
        (channel("json://h/${A B}"), "is no reference"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(RoutingError) as caught:
        parse_routing(text, "plant.toml")
    assert str(caught.value).startswith("plant.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mailtos://me:hunter22@mail.example.org?to=a@b.org", "holds a password"),
        ("json://h/x?+Authorization=Bearer%20abc", "holds a secret in +Authorization"),
        ("mailto://h?to=a@b.org&pass=hunter22", "holds a secret in pass"),
        ("slack://T0/B0/abcdef", "of slack:// is itself a secret; put it into the environment and write ${NAME}"),
        ("pagerduty://key@api", "is itself a secret"),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(url: str, said: str) -> None:
    with pytest.raises(RoutingError) as caught:
        parse_routing(channel(url))
    assert said in str(caught.value)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mailtos://me:${PASSWORD}@mail.example.org?to=a@b.org",
        "mailto://127.0.0.1:25?from=a@b.org&to=c@d.org",
        "jsons://h/x?+Authorization=${TOKEN}",
        "${SLACK_URL}",
        "slack://${A}/${B}/${C}/#x",
    ],
)
def test_references_are_taken(url: str) -> None:
    assert parse_routing(channel(url)).channels["a"].url == url


def test_without_a_file_there_is_no_routing(tmp_path: Path) -> None:
    assert read_routing(tmp_path / "none.toml") is None


def test_the_example_is_right() -> None:
    found = read_routing(EXAMPLE)
    assert found is not None
    assert found.channels["site-team"].contacts == ("maintenance_contact",)
    assert str(found.routes[0].zone) == "Europe/Berlin"


def test_a_part_of_an_address_is_quoted_a_whole_one_is_not() -> None:
    environment = {"P": "p@ss/w:1", "URL": "slack://A/B/C/#x"}
    assert filled("mailtos://me:${P}@h", environment) == "mailtos://me:p%40ss%2Fw%3A1@h"
    assert filled("${URL}", environment) == "slack://A/B/C/#x"
    with pytest.raises(SecretError, match="no MISSING"):
        filled("json://${MISSING}", environment)


def test_a_contact_cannot_change_the_address() -> None:
    made = Channel("a", "mailto://127.0.0.1:25?mode=insecure&from=a@b.org&to={site_manager}", ("site_manager",))
    plugin = open_address(made, {"site_manager": "x@y.org&smtp=evil.example"}, {})
    assert getattr(plugin, "smtp_host", "") == "127.0.0.1"


def test_an_address_that_cannot_be_understood_is_not_repeated() -> None:
    with pytest.raises(AddressError) as caught:
        open_address(Channel("pager", "${URL}"), {}, {"URL": "nosuch://marker-secret"})
    assert "channel pager" in str(caught.value)
    assert "marker-secret" not in str(caught.value)


def test_secrets_are_struck_out_in_every_form() -> None:
    scrub = Scrubber.of(
        ["x://${A}", "${B}", "y://h:${PORT}"], {"A": "s3cr+t/&", "B": "slack://TokenAAA/TokenBBB", "PORT": "25"}
    )
    for text in ("s3cr+t/&", "s3cr%2Bt%2F%26", "at TokenBBB/", "slack://TokenAAA/TokenBBB"):
        assert "***" in scrub(f"before {text} after")
        assert text not in scrub(f"before {text} after")
    assert scrub("port 25, 250 bytes") == "port 25, 250 bytes"
