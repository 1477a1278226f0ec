"""Personal data and secrets: what is found, what stays, and that nothing else changes. All secrets are made here."""

import base64
import ipaddress
import json
import pickle
import random
import re
import string
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LodeError
from corpus.repositories import read_repository
from corpus.schema import with_verdict
from filters.personal_data import PersonalData, default_rules, is_password, is_random, rules_of

LETTERS = string.ascii_letters + string.digits
RULES = default_rules()
FINDER = PersonalData()
CHANCE = random.Random(11)


def draw(length, characters=LETTERS):
    value = "".join(CHANCE.choices(characters, k=length - 3))
    return value + "".join(
        CHANCE.choice(set_) for set_ in (string.ascii_lowercase, string.ascii_uppercase, "7")
    )


def hexadecimal(length):
    return CHANCE.randbytes(length // 2).hex()


def upper(length):
    return "".join(CHANCE.choices(string.ascii_uppercase + "234567", k=length))


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# The published formats, drawn anew for each run of the tests (from a fixed seed).
KEYS = {
    "age_key": "AGE-SECRET-" + "KEY-1" + upper(58),
    "anthropic_key": "sk-" + "ant-api03-" + draw(93),
    "authorization": "Authorization: Bearer " + draw(40),
    "aws_access_key": "AK" + "IA" + upper(16),
    "azure_storage_key": "AccountKey=" + draw(86) + "==",
    "databricks_token": "da" + "pi" + hexadecimal(32),
    "digitalocean_token": "dop_" + "v1_" + hexadecimal(64),
    "discord_token": "M" + draw(23) + "." + draw(6) + "." + draw(27),
    "docker_token": "dckr_" + "pat_" + draw(27),
    "facebook_token": "EAAC" + "EdEose0cBA" + draw(40),
    "github_token": "gh" + "p_" + draw(36),
    "gitlab_token": "gl" + "pat-" + draw(20),
    "google_key": "AI" + "za" + draw(35),
    "google_secret": "GOC" + "SPX-" + draw(28),
    "grafana_token": "gl" + "sa_" + draw(32) + "_" + hexadecimal(8),
    "huggingface_token": "h" + "f_" + draw(34),
    "jwt": encoded({"alg": "HS256", "typ": "JWT"}) + "." + encoded({"sub": 17}) + "." + draw(43),
    "mailchimp_key": hexadecimal(32) + "-us" + "12",
    "mailgun_key": "key-" + hexadecimal(32),
    "newrelic_key": "NR" + "AK-" + upper(27),
    "npm_token": "np" + "m_" + draw(36),
    "openai_key": "sk-" + "proj-" + draw(80),
    "postman_key": "PM" + "AK-" + hexadecimal(24) + "-" + hexadecimal(34),
    "pypi_token": "py" + "pi-AgEIcHlwaS5vcmc" + draw(80),
    "rubygems_key": "rubygems" + "_" + hexadecimal(48),
    "sendgrid_key": "S" + "G." + draw(22) + "." + draw(43),
    "shopify_token": "shp" + "at_" + hexadecimal(32),
    "slack_token": "xo" + "xb-123456789012-1234567890123-" + draw(24),
    "slack_webhook": "https://hooks."
    + "slack.com/services/T"
    + upper(10)
    + "/B"
    + upper(10)
    + "/"
    + draw(24),
    "square_token": "sq0" + "csp-" + draw(43),
    "stripe_key": "sk_" + "live_" + draw(24),
    "telegram_token": "5123456789" + ":AA" + draw(33),
    "terraform_token": draw(14) + ".atlas" + "v1." + draw(64),
    "twilio_key": "S" + "K" + hexadecimal(32),
    "vault_token": "hv" + "s." + draw(95),
}
PASSWORD = "Tr0ub4" + "dor&3"
PEM_LINES = ["MII" + draw(61) for _ in range(6)] + ["Zz9="]


def pem(separator="\n", kind="RSA PRIVATE KEY"):
    return separator.join([f"-----BEGIN {kind}-----", *PEM_LINES, f"-----END {kind}-----"])


def replaced(text, language="Python", seed="1"):
    return FINDER.replace(text, language, seed)


def rows(*files):
    return pa.RecordBatch.from_pylist(
        [{"id": str(i), "text": text, "language": language} for i, (text, language) in enumerate(files)]
    )


def test_every_format_has_its_example():
    assert set(KEYS) == set(RULES["keys"]) - {"placeholder"}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("around", ['x = "{}"\n', "{}", "a\\n{}\\n", "({},"])
def test_formats_are_found_in_any_place(kind, around):
    found = replaced(around.format(KEYS[kind]))
    assert found.counts == {kind: 1}
    before, after = around.split("{}")
    assert found.text.startswith(before) and found.text.endswith(after)
    assert found.text.count("<KEY>") == 1
    assert not re.search("[A-Za-z0-9]{15}", found.text.replace("Authorization", ""))


@pytest.mark.parametrize(
    "kind", sorted(set(KEYS) - {"authorization", "azure_storage_key", "slack_webhook", "jwt"})
)
def test_formats_within_longer_words_stay(kind):
    text = f"x = 'a{KEYS[kind]}'"
    assert replaced(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "AK" + "IAIOSFODNN7EXAMPLE",
        "ghp_" + "x" * 36,
        "AIza" + "0" * 35,
        "token = 'your-api-token-1-of-2'",
        "eyJ" + "hbGciOiJub3BlInQ.eyJhYmMiOjF9." + "a1B2c3D4e5F6",  # its header is no JSON
        "secret = os.environ['SECRET_KEY_1']",
        "secret_key: ${SECRET_KEY_1_OF_2}",
        "api_key = get_key('a1', 'b2')",
        "password = 'password'",
        "password = 'Enter your new password 1'",
        "public_key_token = 'b77a5c561934e089b77a5c561934e089'",
        "integrity_token = 'sha512-" + "aB1c" * 20 + "=='",
        "password_hash = '$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW'",
        "secret_id = '123e4567-e89b-12d3-a456-426614174000'",
        "commit = '847c068e1d2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b'",
        "0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B",
        "http://user:pass@host/ http://user:pass%20word@host/ http://{user}:{password1}@host/",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC\n-----END PUBLIC KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        'if ("-----BEGIN PRIVATE KEY-----" in x) { aLongNameOfAFunctionWithoutAnyEndToIt(); } // -----END PRIVATE KEY',
    ],
)
def test_what_only_looks_like_a_secret_stays(text):
    found = replaced(text, "YAML")
    assert found.text == text and not found.counts


@pytest.mark.parametrize(
    "template, kind",
    [
        ('password = "{}"', "password"),
        ('"DB_PASSWORD": "{}",', "password"),
        ("'passwd' => '{}',", "password"),
        ('password: str = "{}"', "password"),
        ('String dbPassword = "{}";', "password"),
        ('if (passphrase == "{}")', "password"),
        ("postgres://bob:{}@db.internal/x", "url_password"),
    ],
)
def test_passwords_in_code(template, kind):
    value = PASSWORD.replace("&", "7") if kind == "url_password" else PASSWORD
    found = replaced(template.format(value))
    assert found.text == template.format("<PASSWORD>") and found.counts == {kind: 1}


def test_texts_without_quotes_count_in_settings_only():
    text = f"DB_PASSWORD={PASSWORD}\nAPI_KEY={hexadecimal(32)}\n"
    assert replaced(text, "INI").text == "DB_PASSWORD=<PASSWORD>\nAPI_KEY=<KEY>\n"
    assert replaced(text, "Python").text == text


def test_a_value_goes_wherever_it_is_quoted_again():
    found = replaced(f'password = "{PASSWORD}"\nlogin("bob", "{PASSWORD}")\n')
    assert found.text == 'password = "<PASSWORD>"\nlogin("bob", "<PASSWORD>")\n'


@pytest.mark.parametrize(
    "characters, least", [("0123456789abcdef", 0.99), (LETTERS, 0.9), (LETTERS + "+/", 0.9)]
)
def test_most_of_what_a_machine_draws_is_known(characters, least):
    drawn = ["".join(CHANCE.choices(characters, k=32)) for _ in range(1000)]
    assert sum(map(is_random, drawn)) >= least * len(drawn)


@pytest.mark.parametrize(
    "value",
    ["get_secret_value_1_of_2", "AbstractTokenFactory2Bean3", "keys/prod/v1/a2", "2024-01-02T03:04:05"],
)
def test_names_and_dates_are_not_random(value):
    assert not is_random(value) and not is_password(value.lower())


@pytest.mark.parametrize(
    "make",
    [
        lambda: pem(),
        lambda: "key = '" + pem("\\n") + "'",
        lambda: 'k = "' + pem('\\n"\n  "') + '"',
        lambda: 'k = "' + pem('\\n" +\n  "', "EC PRIVATE KEY") + '";',
        lambda: pem("\r\n", "OPENSSH PRIVATE KEY"),
        lambda: pem().rpartition("-----END")[0],
    ],
)
def test_private_keys_go_and_quotes_stay(make):
    text = make()
    found = replaced(text)
    assert set(found.counts) == {"private_key"}
    assert not re.search("[A-Za-z0-9+/]{20}", found.text)
    assert [c for c in found.text if c in "\"'+;"] == [
        c for c in re.sub("MII[A-Za-z0-9]+", "", text) if c in "\"'+;"
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Bob <bob.x+y@corp.co.uk>, 2020", "Bob <<EMAIL>>, 2020"),
        ('"a\\nbob@corp.com"', '"a\\n<EMAIL>"'),
        ("mailto:bob@corp.com?subject=x", "mailto:<EMAIL>?subject=x"),
        ("联系bob@corp.cn。", "联系<EMAIL>。"),
        ("bob@corp.com.", "<EMAIL>."),
        ("see bob@corp.com.Nextly", "see <EMAIL>.Nextly"),
    ],
)
def test_addresses_of_people_go(text, expected):
    assert replaced(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:a/b.git",
        "noreply@corp.com",
        "bob@example.com bob@mail.example.org bob@x.test",
        "icon@2x.png",
        "python@3.11.2 pkg@1.0.beta",
        "return@forEach.name",
        "%s@corp.com ${user}@corp.com $user@corp.com",
        "ssh://bob@corp.com/ http://bob:secret@corp.com/",
        "a@b.call(x) W@self.weights m@v.T",
        "@decorator.name",
    ],
)
def test_what_is_nobodys_address_stays(text):
    assert replaced(text).text == text


PUBLIC = "84.113.27.9"
PUBLIC6 = "2a00:1450:4001:81b::200e"


@pytest.mark.parametrize(
    "template",
    [
        'host = "{}"',
        "http://{}:80/x",
        "{}",
        "a\\n{}\\n",
        "ssh root@{}",
        "{}/24",
        "from {}-84.113.27.12",
        "IP:{},",
    ],
)
def test_addresses_of_machines_get_a_private_one(template):
    found = replaced(template.format(PUBLIC))
    before = template.partition("{}")[0]
    assert found.text.startswith(before)
    shown = re.match(r"[0-9.]+", found.text[len(before) :])[0].rstrip(".")
    assert shown in RULES["ipv4"]["stand_ins"] and ipaddress.ip_address(shown).is_private
    assert "84.113" not in found.text


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1 10.1.2.3 192.168.1.7 172.20.1.1 169.254.169.254 224.0.0.1 255.255.255.0 203.0.113.7",
        "8.8.8.8 1.1.1.1 9.9.9.9",
        "84.113.0.0/16 84.113.27.0",
        "1.3.6.1.4.1.84.113.27.9 2.5.29.15 id-at 2.5.4.3",
        "foo==84.113.27.9 bar>=84.113.27.9 v84.113.27.9 $Id: a.c,v 84.113.27.9 2008",
        "lib-84.113.27.9.tar.gz Chrome/84.113.27.9 version 84.113.27.9",
        "see 7.8.9.10 and 12.3.14.2 or 6.0.16.251",
        "84.113.27.9.1 x84.113.27.9 84.113.27.9beta 084.113.27.9 84.113.27.256",
        'd="m.28-.15 84.113.27.9 1.2"',
    ],
)
def test_versions_and_addresses_of_nobody_stay(text):
    assert replaced(text).text == text


def test_small_numbers_are_an_address_where_the_line_says_so():
    assert replaced("nameserver 7.8.9.10").counts == {"ipv4": 1}
    assert replaced("http://7.8.9.10/").counts == {"ipv4": 1}
    assert not replaced("nameserver\n7.8.9.10").counts


def test_ipv6():
    found = replaced(
        f"[{PUBLIC6}]:80 ::1 fe80::1 2001:db8::1 std::min dead::beef 2001:4860:4860::8888 12:30:45"
    )
    assert found.counts == {"ipv6": 1}
    stand_in = re.match(r"\[(.*)\]:80 ::1", found.text)[1]
    assert stand_in in RULES["ipv6"]["stand_ins"] and ipaddress.ip_address(stand_in).is_private


def test_an_address_has_one_stand_in_in_a_file_and_others_have_others():
    addresses = [f"84.113.27.{i}" for i in range(1, 6)]
    text = "\n".join(addresses * 2)
    once, again = replaced(text, seed="a"), replaced(text, seed="a")
    lines = once.text.split("\n")
    assert once.text == again.text
    assert lines[:5] == lines[5:] and len(set(lines)) == 5
    assert len({replaced(text, seed=str(i)).text for i in range(30)}) == 5


def test_files_that_are_secrets_go_and_others_keep_their_columns():
    env = "".join(
        f"SERVICE_{i}_TOKEN={hexadecimal(32)}\n# what it is for, and who has to be asked for another\n\n"
        for i in range(3)
    )
    batch = rows(
        (pem(), None), (env, "Dotenv"), ("x = 1\n", "Python"), ("a@corp.com " * 9, "Text"), (None, None)
    )
    transform = pickle.loads(pickle.dumps(FINDER))
    (out,) = transform(iter([batch]))
    assert out.schema == with_verdict(transform.schema(batch.schema))
    assert out["reason"].to_pylist() == ["secrets", "secrets", None, None, None]
    assert out["detail"].to_pylist()[1] == "3 of them"
    assert out["personal_data"].to_pylist()[2:4] == [[], [{"kind": "email", "count": 9}]]
    assert out["text"].to_pylist()[2:] == ["x = 1\n", "<EMAIL> " * 9, None]
    (again,) = transform(iter([out.select(["id", "text", "language", "personal_data"])]))
    assert again.schema == out.schema


PIECES = st.sampled_from(
    [
        *KEYS.values(),
        PASSWORD,
        "password",
        "=",
        '"',
        "'",
        ":",
        "\\n",
        "\n",
        " ",
        "@",
        ".",
        "-",
        "/",
        "//",
        "http://u:",
        "bob@corp.com",
        "version@corp.com",
        "server@corp.com",
        PUBLIC,
        PUBLIC6,
        "7.8.9.10",
        "a",
        "1",
        "<KEY>",
        "secret",
        pem(),
        pem("\\n"),
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        PEM_LINES[0],
        "v",
    ]
)
STAND_INS = [*RULES["ipv4"]["stand_ins"], *RULES["ipv6"]["stand_ins"], "<EMAIL>", "<KEY>", "<PASSWORD>"]


@given(st.lists(PIECES | st.text(max_size=3), max_size=25).map("".join))
def test_a_second_pass_changes_nothing_and_the_rest_is_as_it_was(text):
    found = replaced(text, "INI")
    again = replaced(found.text, "INI")
    assert again.text == found.text and not again.counts
    pattern = "|".join(map(re.escape, STAND_INS))
    rest = re.split(pattern, found.text)
    place = 0
    for piece in rest:  # in order, with something between
        place = text.index(piece, place) + len(piece)
    assert text.startswith(rest[0]) and text.endswith(rest[-1])
    assert bool(found.counts) == (found.text != text)


@pytest.mark.parametrize(
    "piece",
    [
        "a@",
        "a@a.",
        "a.com@",
        "1.",
        PUBLIC + " ",
        "2001:",
        "2001:0:1::",
        "-----BEGIN PRIVATE KEY-----",
        "aB3/",
        "://a:",
        "password",
        'password="a1B2c3D4!',
        "secret: ",
        "eyJ",
        "eyJ" + "a" * 2000 + ".",
        "SK",
        "hf_",
        "\\n",
        '"abcdefgh',
        "M" * 24 + ".aaaaaa.",
        "-----BEGIN PRIVATE KEY-----\\n" + "aB3/" * 16,
    ],
)
def test_time_is_linear_in_hostile_text(piece):
    def seconds(length):
        text = (piece * (length // len(piece) + 1))[:length]
        began = time.process_time()
        replaced(text, "YAML")
        return time.process_time() - began

    seconds(1000)
    # Quadratic work on 400 kB would take minutes.
    assert seconds(400_000) < 10


def test_own_rules_change_what_they_name(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        "max_secret_share = 1.0\nipv4 = false\n[email]\nkept_names = ['bob']\n"
        "[keys]\njwt = false\nours = { hint = 'OURS-', pattern = 'OURS-[0-9a-f]{8}' }\n"
    )
    finder = PersonalData(rules_of(str(path)))
    text = f"bob@corp.com ann@corp.com {PUBLIC} OURS-0a1b2c3d {KEYS['jwt']}"
    assert finder.replace(text).text == f"bob@corp.com <EMAIL> {PUBLIC} <KEY> {KEYS['jwt']}"
    (out,) = finder(iter([rows((pem(), None))]))
    assert out["reason"].to_pylist() == [None]


@pytest.mark.parametrize(
    "text, says",
    [
        ("emial = false\n", "did you mean 'email'"),
        ("[email]\nkept = 1\n", "there is no rule email.'kept'"),
        ("max_secret_share = 'x'\n", "should be like 0.5"),
        ("[keys]\nours = { pattern = 'x' }\n", "needs the keys hint and pattern"),
        ("[keys]\nours = { hint = '(', pattern = 'x' }\n", "cannot be used"),
        ("[ipv4]\nkept = ['1.2.3']\n", "cannot be used"),
        ("x", "not TOML"),
    ],
)
def test_wrong_rules_are_told_of(tmp_path, text, says):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(LodeError, match=re.escape(says)):
        rules_of(str(path))
    with pytest.raises(LodeError, match="cannot be read"):
        rules_of(str(tmp_path / "none.toml"))


def test_real_files_keep_their_constants(shared_data):
    """Of a repository with keys and addresses in its tests: the private keys go, and of the rest only addresses."""
    files = [
        (row["text"], row["language"])
        for row in read_repository(str(shared_data / "repos" / "requests-2.32.3.tar.gz"), "sample")
        if row["text"] and not row["reason"]
    ]
    (out,) = FINDER(iter([rows(*files)]))
    kinds = {kind["kind"] for row in out["personal_data"].to_pylist() for kind in row}
    assert kinds <= {"email", "ipv4", "ipv6", "private_key", "authorization"}
    assert out["reason"].to_pylist().count("secrets") == 6
