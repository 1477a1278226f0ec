"""Personal data and secrets beside detect-secrets and datatrove: what each finds, what is planted, and how fast.

    python -m benchmarks.personal_data --peer PYTHON [--input ARCHIVE_OR_FOLDER ...] [--share N]

`PYTHON` is an interpreter with `pip install detect-secrets datatrove regex`. Files are those of the sample's
repositories and graphs, and of `--input`.

- `planted`: for each kind, texts with a secret made here after its published format, found or not. detect-secrets runs
  with all its plugins (`all`) and with those and the filters that BigCode chose (`bigcode`; its own filters for
  words and hashes come on top there, and take away more).
- `sample`: e-mail and IP addresses that Lode and datatrove's `PIIFormatter` replace, and what detect-secrets calls a
  secret, in one of `--share` files. `different` are values, so that they can be looked at: nobody has labelled them.
- `speed`: megabytes a second on one core. datatrove and detect-secrets see the share only.
"""

import argparse
import base64
import collections
import itertools
import json
import pathlib
import random
import string
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa

from benchmarks.record import SAMPLE, record
from corpus.repositories import FILE, read_repository
from corpus.schema import to_batches
from filters.personal_data import PersonalData, default_rules

PEER = """
import json, sys, tempfile, time
from datatrove.pipeline.formatters.pii import PIIFormatter
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings, transient_settings
plugins = '''ArtifactoryDetector AWSKeyDetector Base64HighEntropyString HexHighEntropyString AzureStorageKeyDetector
CloudantDetector DiscordBotTokenDetector GitHubTokenDetector IbmCloudIamDetector IbmCosHmacDetector JwtTokenDetector
MailchimpDetector NpmDetector SendGridDetector SlackDetector SoftlayerDetector StripeDetector TwilioKeyDetector'''
names = "is_potential_uuid is_likely_id_string is_templated_secret is_sequential_string".split()
bigcode = {"plugins_used": [{"name": name} for name in plugins.split()],
           "filters_used": [{"path": "detect_secrets.filters.heuristic." + name} for name in names]}
pii = PIIFormatter()
def secrets(text):
    # A file, as BigCode does it: scan_line, made for single strings, takes every word for one of high entropy.
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        found = SecretsCollection()
        found.scan_file(file.name)
    return [[secret.type, secret.secret_value] for _, secret in found]
def addresses(text):
    emails = [m[0] for m in pii.emails_replacer.regex.finditer(text)]
    rest = pii.emails_replacer.replace(text)
    return [emails, [m[0] for m in pii.ip_replacer.regex.finditer(rest) if pii.ip_replacer.validator(m[0])]]
for line in sys.stdin:
    what, texts = json.loads(line)
    with default_settings() if what != "bigcode" else transient_settings(bigcode):
        began = time.process_time()
        if what == "datatrove":
            list(map(pii.format, texts))
            seconds = time.process_time() - began
            found = list(map(addresses, texts))
        else:
            found = list(map(secrets, texts))
            seconds = time.process_time() - began
        print(json.dumps([found, seconds]), flush=True)
"""
LETTERS = string.ascii_letters + string.digits
SHOWN = 25


class Planter:
    """Draws secrets after their published formats."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def draw(self, length: int, characters: str = LETTERS) -> str:
        return "".join(self.chance.choices(characters, k=length))

    def secrets(self) -> dict[str, str]:
        draw, low, upper = self.draw, "0123456789abcdef", string.ascii_uppercase + "234567"
        digits, address = string.digits, ".".join(str(self.chance.randint(40, 120)) for _ in range(4))
        begin, end = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
        jwt = [
            base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=")
            for p in ({"alg": "HS256"}, {"sub": 1})
        ]
        return {
            "AWS access key": "AKIA" + draw(16, upper),
            "AWS secret key": f'aws_secret_access_key = "{draw(40, LETTERS + "+/")}"',
            "GitHub token": "ghp_" + draw(36),
            "GitHub fine-grained token": f"github_pat_{draw(22)}_{draw(59)}",
            "GitLab token": "glpat-" + draw(20),
            "Slack token": f"xoxb-{draw(12, digits)}-{draw(12, digits)}-{draw(24)}",
            "Slack webhook": f"https://hooks.slack.com/services/T{draw(8, upper)}/B{draw(8, upper)}/{draw(24)}",
            "Stripe key": "sk_live_" + draw(24),
            "Google key": "AIza" + draw(35),
            "npm token": "npm_" + draw(36),
            "PyPI token": "pypi-AgEIcHlwaS5vcmc" + draw(90),
            "OpenAI key": f"sk-{draw(20)}T3BlbkFJ{draw(20)}",
            "Hugging Face token": "hf_" + draw(34),
            "SendGrid key": f"SG.{draw(22)}.{draw(43)}",
            "Telegram token": f"5{draw(9, digits)}:AA{draw(33)}",
            "JSON web token": ".".join([*jwt, draw(43)]),
            "private key": begin + "\\n" + "\\n".join(draw(64) for _ in range(9)) + "\\n" + end,
            "password in a URL": f"postgres://admin:{draw(12)}@db.internal/x",
            "assigned password": f'password = "{draw(5, low[10:])}{draw(3, upper[:26])}{draw(2, digits)}!"',
            "assigned key, hexadecimal": f'api_key = "{draw(32, low)}"',
            "assigned key, base64": f'"client_secret": "{draw(40)}"',
            "e-mail": f"{draw(8, string.ascii_lowercase)}@{draw(8, string.ascii_lowercase)}.com",
            "IPv4": f'host = "{address}"',
            "IPv6": f"2a01:{draw(4, '123456789')}:{draw(4, '123456789')}::{draw(3, '123456789')}",
        }  # fmt: skip


def wrapped(secret: str) -> str:
    return f"import x\n\nx.use({secret})\n" if '"' in secret else f"import x\n\nx.use('{secret}')\n"


class Peer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, what: str, texts: list[str]) -> tuple[list[Any], float]:
        assert self.process.stdin and self.process.stdout
        print(json.dumps([what, texts]), file=self.process.stdin, flush=True)
        found, seconds = json.loads(self.process.stdout.readline())
        return found, seconds


def planted(peer: Peer, times: int = 50) -> dict[str, Any]:
    """Share of the planted secrets that each tool finds, by kind."""
    planter, finder = Planter(5), PersonalData()
    texts = [(kind, wrapped(secret)) for _ in range(times) for kind, secret in planter.secrets().items()]
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    answers = {
        what: peer.ask(what, [text for _, text in texts])[0] for what in ("all", "bigcode", "datatrove")
    }
    for number, (kind, text) in enumerate(texts):
        found[kind]["lode"] += bool(finder.replace(text, "Python", str(number)).counts)
        found[kind]["detect-secrets, all"] += bool(answers["all"][number])
        found[kind]["detect-secrets, as BigCode"] += bool(answers["bigcode"][number])
        found[kind]["datatrove"] += any(answers["datatrove"][number])
    tools = ("lode", "detect-secrets, all", "detect-secrets, as BigCode", "datatrove")
    return {kind: {tool: counts[tool] / times for tool in tools} for kind, counts in found.items()}


def compared(ours: set[tuple[str, str]], theirs: set[tuple[str, str]]) -> dict[str, Any]:
    """Sets of (file, value)."""
    only = {"lode only": ours - theirs, "peer only": theirs - ours}
    values = {name: sorted({value for _, value in found})[:SHOWN] for name, found in only.items()}
    return {
        "both": len(ours & theirs),
        **{name: len(found) for name, found in only.items()},
        "different": values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peer", required=True, help="an interpreter with detect-secrets and datatrove")
    parser.add_argument("--input", nargs="*", default=[], help="archives or folders of repositories")
    parser.add_argument("--share", type=int, default=10, help="peers see one of so many files")
    arguments = parser.parse_args()
    paths = [str(path) for part in ("repos", "graphs") for path in sorted((SAMPLE / part).glob("*.tar.gz"))]
    paths += arguments.input
    if not paths:
        sys.exit("No files: name some with --input.")
    rows = [
        row for path in paths for row in read_repository(path, "sample") if row["text"] and not row["reason"]
    ]
    size = sum(len(row["text"].encode()) for row in rows)
    batches = list(to_batches(rows, FILE))
    finder = PersonalData()
    list(finder(iter(batches[:1])))
    began = time.process_time()
    judged = list(finder(iter(batches)))
    seconds = time.process_time() - began
    table = pa.Table.from_batches(judged).select(["personal_data", "reason"]).to_pylist()
    counts: collections.Counter[str] = collections.Counter()
    for row in table:
        counts.update({kind["kind"]: kind["count"] for kind in row["personal_data"]})
    some = rows[:: arguments.share]
    texts = [row["text"] for row in some]
    some_size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder) / "peer.py"
        script.write_text(PEER, encoding="utf-8")
        with subprocess.Popen(
            [arguments.peer, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            peer = Peer(process)
            found = planted(peer)
            answers = {what: peer.ask(what, texts) for what in ("datatrove", "all", "bigcode")}
    ours: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for number, row in enumerate(some):
        for kind, value in finder.replace(row["text"], row["language"]).found:
            name = "secrets" if kind not in ("email", "ipv4", "ipv6") else kind
            ours[name].add((str(number), value))
    theirs = [
        {(str(number), value) for number, kinds in enumerate(answers["datatrove"][0]) for value in kinds[i]}
        for i in (0, 1)
    ]
    kinds = {
        what: collections.Counter(kind for kind, _ in itertools.chain.from_iterable(answers[what][0]))
        for what in ("all", "bigcode")
    }
    samples = {
        what: sorted({value[:60] for kind, value in itertools.chain.from_iterable(answers[what][0])})[::9][
            :SHOWN
        ]
        for what in kinds
    }
    result = {
        "files": len(rows),
        "megabytes": round(size / 1e6, 1),
        "planted": found,
        "replaced in all files": dict(counts.most_common()),
        "files changed": sum(bool(row["personal_data"]) for row in table),
        "files dropped": sum(bool(row["reason"]) for row in table),
        "share": {
            "files": len(some),
            "email, datatrove": compared(ours["email"], theirs[0]),
            "ipv4, datatrove": compared(ours["ipv4"], theirs[1]),
            "secrets, lode": len(ours["secrets"]),
            "secrets, detect-secrets, some": samples,
            "secrets, detect-secrets, all": dict(kinds["all"].most_common()),
            "secrets, detect-secrets, as BigCode": dict(kinds["bigcode"].most_common()),
        },
        "megabytes a second": {
            "lode": round(size / 1e6 / seconds, 1),
            **{what: round(some_size / 1e6 / answers[what][1], 2) for what in answers},
        },
        "formats": len(default_rules()["keys"]) - 1,
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    record("personal_data", result, ["pyarrow", "tldextract"])


if __name__ == "__main__":
    main()
