"""E-mail addresses, IP addresses, keys and passwords in source files, replaced as BigCode does (arXiv 2305.06161, 4.3).

What is looked for and what stands in its place is data (`personal_data.toml`). `<EMAIL>`, `<KEY>` and `<PASSWORD>` take
the place of what they name, an address that of an address: one of five private ones, the same for the same address in
a file. Names of people, which BigCode finds with a model, stay. Nothing outside the replaced spans changes, and a
second pass finds nothing.
"""

import base64
import binascii
import difflib
import functools
import importlib.resources
import ipaddress
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import tldextract
import xxhash

from corpus import storage
from corpus.errors import LodeError
from corpus.schema import judged

FOUND = pa.list_(pa.struct([("kind", pa.string()), ("count", pa.int32())]))
SECRETS = "secrets"  # the reason why a file goes
ADDRESSES = ("email", "ipv4", "ipv6")  # kinds that are no secrets

_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"
_ESCAPED = "abefnrtv0"
# All expressions below begin with a fixed character, for which Python's search skips ahead; what stands before it is
# looked at afterwards.
_EMAIL = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_IPV4 = re.compile(r"\.(?<=[0-9]\.)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])")
_IPV6 = re.compile(r":(?<=[23][0-9a-fA-F]{3}:)[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{0,32}")
_URL_PASSWORD = re.compile(r"""://[^\s/:@"'`<>]{0,100}:([^\s/@"'`<>]{6,100})@""")
_USER_INFO = re.compile(r"""://[^\s/@"'`<>]*$""")
_PEM = re.compile(r"-----(BEGIN|END) (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# Lines of base64, with line ends as they are or escaped between them.
_PEM_BODY = re.compile(
    r"\\.|[A-Za-z0-9+/]{40,}+={0,2}(?:(?:\\[nr]|\s){1,20}[A-Za-z0-9+/=]{1,80}(?![A-Za-z0-9+/:-]))*"
)
_PEM_REST = re.compile(r"""(?:(?:\\[nrt]|[\s"'+,;|.])*+[A-Za-z0-9+/]{40,}+={0,2})*+""")
_QUOTED = re.compile(r"""(["'`])([^\s"'`\\<>]{8,512})(?=\1)""")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]+")
_WORDS = re.compile(r"[A-Z]?[a-z]{4,}|[A-Z]{5,}")
_DIGITS = re.compile(r"[0-9]+")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_REFERENCE = re.compile(r"[{}$<>()]|%[sd(]|::|//")
# A comparison of versions, a revision of RCS or any other after a `v`.
_BEFORE_VERSION = re.compile(r"(?:(?:[=!~<>]=|[<>^~])[ \t]?|(?<![A-Za-z0-9])v[. ]?)$", re.I)
# Fractions without a whole part: the path of a drawing.
_FRACTION = re.compile(r"(?<![\w.\]])-?\.[0-9]")
_SIZE = re.compile(r"/([0-9]{1,2})(?![0-9.])")
_AFTER_IPV4 = re.compile(r"[\w~+]|\.\w|-(?!(?:[0-9]{1,3}\.){3}[0-9])\w")

# The same, loosely, for RE2: what a file that has none of them cannot match.
_HINTS = {
    "email": r"[A-Za-z0-9._+-]@[A-Za-z0-9-]+\.[A-Za-z0-9-]*[A-Za-z]",
    "ipv4": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    "ipv6": r"(?:^|[^0-9A-Za-z:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F]{0,4}:",
    "url_password": r"""://[^/:@"'`<>]{0,100}:[^/@"'`<>]{6,100}@""",
    "private_key": r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY",
}

Span = tuple[int, int, str]  # start, end, what stands there


def default_rules() -> dict[str, Any]:
    """`personal_data.toml` as it is."""
    text = importlib.resources.files("filters").joinpath("personal_data.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def rules_of(path: str | None = None) -> dict[str, Any]:
    """The rules that come with Lode, under those of a TOML file of one's own; a wrong file is a `LodeError`."""
    rules = default_rules()
    if path is None:
        return rules
    where = f"personal data rules {path}"
    own = storage.read_toml(path, where)
    rules = _over(rules, own, where, "")
    try:
        _compiled(json.dumps(rules))
    except (re.error, pa.ArrowInvalid, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LodeError(f"{where}: cannot be used as it is ({error}).") from error
    return rules


def _over(rules: Any, own: dict[str, Any], where: str, table: str) -> dict[str, Any]:
    merged = dict(rules)
    for key, value in own.items():
        known = rules.get(key)
        if key not in rules and table not in ("keys.", "max_secrets."):
            meant = difflib.get_close_matches(key, rules, 1, 0)[0]
            raise LodeError(f"{where}: there is no rule {table}{key!r}; did you mean {meant!r}?")
        if value is False and isinstance(known, dict):
            merged[key] = False
        elif isinstance(known, dict) and isinstance(value, dict):
            merged[key] = _over(known, value, where, f"{table}{key}.")
        elif table == "keys." and not (isinstance(value, dict) and {"hint", "pattern"} <= value.keys()):
            raise LodeError(f"{where}: keys.{key} needs the keys hint and pattern, or has to be false.")
        elif known is not None and type(value) is not type(known):
            raise LodeError(f"{where}: {table}{key} = {value!r} should be like {known!r}.")
        else:
            merged[key] = value
    return merged


@dataclass(frozen=True)
class PersonalData:
    """Transform over rows with `id`, `text` and `language`: replace personal data, drop files that are little else.

    Adds `personal_data`, how many spans of each kind were replaced, sorted by kind: `list<struct<kind, count>>`, empty
    where there was nothing.

    Args:
        rules: as `rules_of` gives them.
    """

    rules: Mapping[str, Any] = field(default_factory=default_rules)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        columns = [column for column in rows if column.name != "personal_data"]
        return pa.schema([*columns, pa.field("personal_data", FOUND)])

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        finder = _compiled(json.dumps(self.rules))
        for batch in batches:
            yield self._judged(batch, finder)

    def _judged(self, batch: pa.RecordBatch, finder: "Finder") -> pa.RecordBatch:
        texts = batch["text"]
        verdicts: list[tuple[str, str] | None] = [None] * batch.num_rows
        counts: list[list[dict[str, Any]]] = [[] for _ in verdicts]
        wanted = finder.steps_of(texts)
        hits = [any(steps) for steps in wanted]
        if any(hits):
            mask, changed = pa.array(hits), []
            some = batch.select(["id", "text", "language"]).filter(mask).to_pylist()
            places = (place for place, hit in enumerate(hits) if hit)
            for place, row in zip(places, some, strict=True):
                result = finder.replace(row["text"], row["language"], row["id"] or "", wanted[place])
                changed.append(result.text)
                counts[place] = [{"kind": kind, "count": n} for kind, n in sorted(result.counts.items())]
                verdicts[place] = finder.verdict(result, row["language"])
            texts = pc.replace_with_mask(texts, mask, pa.array(changed, texts.type))
        schema = self.schema(batch.schema)
        new = {"text": texts, "personal_data": pa.array(counts, FOUND)}
        columns = [new[name] if name in new else batch[name] for name in schema.names]
        return judged(pa.RecordBatch.from_arrays(columns, schema=schema), verdicts)

    def replace(self, text: str, language: str | None = None, seed: str = "") -> "Replaced":
        """One text; `seed` (the document's id) decides which address stands for which."""
        finder = _compiled(json.dumps(self.rules))
        return finder.replace(text, language, seed, finder.steps_of(pa.array([text]))[0])


class Replaced(NamedTuple):
    text: str
    found: list[tuple[str, str]]  # kind, and what stood there
    secret_share: float  # characters of keys and passwords, of all that are not blank

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.found)


class Format(NamedTuple):
    """A kind of key that says what it is."""

    kind: str
    pattern: re.Pattern[str]
    random: bool
    decodes: bool


class Finder:
    """Compiled rules."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self.rules = rules
        self.made_up: tuple[str, ...] = tuple(rules["made_up"])
        hints = {kind: hint for kind, hint in _HINTS.items() if rules[kind]}
        self.formats: list[Format] = []
        keys = rules["keys"] or {}
        for kind, rule in keys.items():
            if kind != "placeholder" and rule:
                random, decodes = rule.get("random", False), rule.get("decodes", False)
                self.formats.append(Format(kind, re.compile(rule["pattern"]), random, decodes))
                hints[kind] = rule["hint"]
        # Secrets before addresses: what a key or a password has in it is no address.
        self.steps: list[tuple[str, Callable[[str, str | None], Iterator[tuple[str, Span]]]]] = []
        if rules["private_key"]:
            self.steps.append((hints["private_key"], self._private_keys))
        if self.formats:
            hint = "|".join(f"(?:{hints[rule.kind]})" for rule in self.formats)
            self.steps.append((hint, self._keys))
        if rules["url_password"]:
            self.steps.append((hints["url_password"], self._url_passwords))
        if about := rules["assigned"]:
            words = "|".join([*about["key_words"], *about["password_words"]])
            name = rf"(?i:{words})[A-Za-z0-9_.-]{{0,40}}[\"'\]]{{0,2}}"
            sign = r"(?::[ \t]{0,2}[A-Za-z_&'][A-Za-z0-9_.']{0,30})?[ \t]{0,9}(?:=>|[:=]{1,3})[ \t]{0,9}"
            value = r"""[A-Za-z@]{0,2}(["'`])(?P<value>[^\s"'`\\<>]{8,512})\1"""
            bare = r"""(?P<value>[^\s"'`\\<>#]{8,512})[ \t\r]{0,9}$"""
            self.assigned = re.compile(name + sign + value)
            self.assigned_bare = re.compile(name + sign + bare)
            self.is_password = re.compile(f"(?i:{'|'.join(about['password_words'])})").search
            hints["assigned"] = name + sign + r"""[A-Za-z@]{0,2}["'`]?[^\s"'`\\<>]{0,100}[0-9]"""
            self.assigned_hint = hints["assigned"]
            self.steps.append((self.assigned_hint, self._assigned))
        if rules["email"]:
            self.kept_names = frozenset(rules["email"]["kept_names"])
            self.kept_domains = tuple(f".{domain}" for domain in rules["email"]["kept_domains"])
        if about := rules["ipv4"]:
            words = [
                rf"(?i)\b(?:{'|'.join(about['address_words'])})(?:\b|_)",
                rf"(?i){'|'.join(about['version_words'])}",
            ]
            self.address_word, self.version_word = (re.compile(word).search for word in words)
        self.kept = {
            kind: tuple(map(ipaddress.ip_network, rules[kind]["kept"]))
            for kind in ("ipv4", "ipv6")
            if rules[kind]
        }
        # One search for all three takes as long as one of them.
        finders = {"email": self._emails, "ipv4": self._ipv4, "ipv6": self._ipv6}
        hint = "|".join(hints[kind] for kind in finders if rules[kind])
        self.steps += [(hint, find) for kind, find in finders.items() if rules[kind]]
        self.steps_of(pa.array([""]))  # RE2 has to understand the hints
        self.public = functools.lru_cache(4096)(self._public)

    def steps_of(self, texts: pa.Array) -> list[tuple[bool | None, ...]]:
        """For each text, which steps may find something in it."""
        found = {
            hint: pc.match_substring_regex(texts, hint).to_pylist()
            for hint in {hint for hint, _ in self.steps}
        }
        masks = [found[hint] for hint, _ in self.steps]
        return list(zip(*masks, strict=True)) if masks else [()] * len(texts)

    def replace(self, text: str, language: str | None, seed: str, wanted: Iterable[bool | None]) -> Replaced:
        """Replace what the `wanted` steps find; what one puts in is nothing that another looks for."""
        found: list[tuple[str, str]] = []
        secret = 0
        before = text
        stand_ins = StandIns(self.rules, seed)
        for (_, find), is_wanted in zip(self.steps, wanted, strict=True):
            if not is_wanted:
                continue
            parts, done = [], 0
            for kind, (start, end, placeholder) in find(text, language):
                if start < done:
                    continue
                if kind not in ADDRESSES:
                    secret += end - start
                else:
                    placeholder = placeholder or stand_ins.of(kind, text[start:end])
                parts += [text[done:start], placeholder]
                done = end
                found.append((kind, text[start:end]))
            if parts:
                text = "".join([*parts, text[done:]])
        share = secret / max(len("".join(before.split())), 1) if secret else 0.0
        return Replaced(text, found, min(share, 1.0))

    def verdict(self, result: Replaced, language: str | None) -> tuple[str, str] | None:
        """Why a file goes, or None."""
        if result.secret_share > self.rules["max_secret_share"]:
            return SECRETS, f"{result.secret_share:.2f} of the file"
        most = (self.rules["max_secrets"] or {}).get(language)
        count = sum(n for kind, n in result.counts.items() if kind not in ADDRESSES)
        return (SECRETS, f"{count} of them") if most and count >= most else None

    def _private_keys(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        placeholder = self.rules["private_key"]["placeholder"]
        marks = list(_PEM.finditer(text))
        for mark, after in zip(marks, [*marks[1:], None], strict=True):
            if mark[1] == "END":
                continue
            if after and after[1] == "END":
                end = after.start()
            else:  # cut short: the lines that follow at once
                end = _PEM_REST.match(text, mark.end()).end()  # type: ignore[union-attr]
            for run in _PEM_BODY.finditer(text, mark.end(), end):
                if run[0][0] != "\\" and _is_mixed(run[0]):
                    yield "private_key", (*run.span(), placeholder)

    def _keys(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        placeholder = self.rules["keys"]["placeholder"]
        found = []
        for rule in self.formats:
            for match in rule.pattern.finditer(text):
                start, end = match.span(1 if rule.pattern.groups else 0)
                value = text[start:end]
                cut = match[0][-1].isalnum() and text[match.end() : match.end() + 1].isalnum()
                if cut or not _is_free(text, match.start()):
                    continue
                if self.is_made_up(value) or entropy(value) < 2.5:
                    continue
                if (rule.random and not _is_mixed(value)) or (rule.decodes and not _is_token(value)):
                    continue
                found.append((start, end, rule.kind))
        for start, end, kind in sorted(found):
            yield kind, (start, end, placeholder)

    def _url_passwords(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        placeholder = self.rules["url_password"]["placeholder"]
        for match in _URL_PASSWORD.finditer(text):
            value = match[1]
            plain = _PERCENT.sub("", value)
            if not self.is_made_up(value) and not _REFERENCE.search(value) and _has(plain, "digit", "letter"):
                yield "url_password", (*match.span(1), placeholder)

    def _assigned(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        about = self.rules["assigned"]
        found: dict[tuple[int, int], str] = {}
        patterns = [self.assigned] + ([self.assigned_bare] if language in about["unquoted"] else [])
        matches = (
            (offset, match)
            for offset, line in lines_with(self.assigned_hint, text)
            for pattern in patterns
            for match in pattern.finditer(line)
        )
        for offset, match in matches:
            value, line = match["value"], match.string
            if match.re is self.assigned_bare and text[offset + len(line) : offset + len(line) + 1] == "\\":
                continue
            head = line[max(0, match.start() - 40) : match.start()]
            name = head[len(head.rstrip(_LOCAL)) :] + line[match.start() : match.start("value")]
            low = name.lower()
            if any(word in low for word in about["not_words"]) or self.is_made_up(value):
                continue
            if self.is_password(name) and is_password(value):
                kind = "password"
            elif is_random(value):
                kind = "secret"
            else:
                continue
            found[offset + match.start("value"), offset + match.end("value")] = kind
        kinds = {text[start:end]: kind for (start, end), kind in found.items()}
        if kinds:  # the same value elsewhere
            for match in _QUOTED.finditer(text):
                if match[2] in kinds:
                    found.setdefault(match.span(2), kinds[match[2]])
        placeholders = {"password": about["password_placeholder"], "secret": about["key_placeholder"]}
        for (start, end), kind in sorted(found.items()):
            yield kind, (start, end, placeholders[kind])

    def _emails(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        placeholder = self.rules["email"]["placeholder"]
        for match in _EMAIL.finditer(text):
            at, labels = match.start(), match[0][1:].lower().split(".")
            end = match.end()
            while len(labels) > 2 and labels[-1] not in top_level_domains():
                end -= len(labels.pop()) + 1
            after = text[end : end + 1]
            if labels[-1] not in top_level_domains() or after.isalnum() or after in ("_", "(", "-"):
                continue
            if any(label[0] == "-" or label[-1] == "-" for label in labels if label) or "" in labels:
                continue
            head = text[max(0, at - 66) : at]
            name = head[len(head.rstrip(_LOCAL)) :]
            start = at - len(name)
            if name and text[start - 1 : start] == "\\" and name[0] in _ESCAPED:
                name = name[1:]
            name = name.lstrip(".-+")
            start = at - len(name)
            if (
                not name
                or len(name) > 64
                or name[-1] == "."
                or ".." in name
                or name.lower() in self.kept_names
            ):
                continue
            # An account in a URL, and what a program fills in.
            if text[start - 1 : start] in ("%", "$", "}", "@") or _USER_INFO.search(
                text, max(start - 100, 0), start
            ):
                continue
            if not f".{'.'.join(labels)}".endswith(self.kept_domains):
                yield "email", (start, end, placeholder)

    def _ipv4(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        about = self.rules["ipv4"]
        last = -1
        for match in _IPV4.finditer(text):
            head = text[max(0, match.start() - 4) : match.start()]
            start, end = match.start() - len(head) + len(head.rstrip("0123456789")), match.end()
            before, last = last, end
            network = self.public("ipv4", text[start:end])
            if network is None or not self._stands_alone(text, start, end, before):
                continue
            line_start = text.rfind("\n", max(0, start - 100), start) + 1 or max(0, start - 100)
            line_end = text.find("\n", end, end + 100)
            line = text[line_start : line_end if line_end >= 0 else end + 100]
            octets = list(map(int, text[start:end].split(".")))
            small = max(octets) <= about["small"] or max(octets[:2]) <= about["very_small"]
            if small and text[max(start - 2, 0) : start] != "//" and text[start - 1 : start] != "@":
                if not self.address_word(line):
                    continue
            elif self.version_word(text, max(line_start, start - 40), start):
                continue
            yield "ipv4", (start, end, "")

    def _stands_alone(self, text: str, start: int, end: int, last: int) -> bool:
        """Not part of a version, an object identifier, a file's name or a network's address."""
        before = text[start - 1 : start] if start else ""
        if before == "-" and start - 1 != last:
            return False
        if before == "/" and text[start - 2 : start] != "//":
            return False
        if before in (".", "+", "~", "%") or (not _is_free(text, start)):
            return False
        if _BEFORE_VERSION.search(text[max(0, start - 4) : start]) or _AFTER_IPV4.match(text, end):
            return False
        if _FRACTION.search(text, max(0, start - 40), end + 40):
            return False
        if (size := _SIZE.match(text, end)) and int(size[1]) < 32:
            bits = int(ipaddress.IPv4Address(text[start:end]))
            return bool(bits & ((1 << (32 - int(size[1]))) - 1))
        return True

    def _ipv6(self, text: str, language: str | None) -> Iterator[tuple[str, Span]]:
        for match in _IPV6.finditer(text):
            start = match.start() - 4
            end = start + len(text[start : match.end()].rstrip("."))
            if text[end - 1] == ":" and text[end - 2] != ":":
                end -= 1
            before, after = text[start - 1 : start] if start else "", text[end : end + 1]
            if (
                before in (":", ".", "-")
                or not _is_free(text, start)
                or after.isalnum()
                or after in ("_", ":")
            ):
                continue
            if self.public("ipv6", text[start:end]) is not None:
                yield "ipv6", (start, end, "")

    def _public(self, kind: str, value: str) -> Any:
        """The address, or None where it is none or one that stays."""
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        # An address that ends in zero is a network's, or a version.
        if kind == "ipv4" and value.endswith(".0"):
            return None
        return None if any(address in network for network in self.kept[kind]) else address

    def is_made_up(self, value: str) -> bool:
        """Stands for a secret, as in instructions."""
        low = value.lower()
        return any(word in low for word in self.made_up)


@functools.lru_cache(8)
def _compiled(rules: str) -> Finder:
    return Finder(json.loads(rules))


class StandIns:
    """Which address stands for which, in one file: in order of appearance, from a place that `seed` decides."""

    def __init__(self, rules: Mapping[str, Any], seed: str) -> None:
        self.rules = rules
        self.first = xxhash.xxh3_64_intdigest(seed.encode("utf-8", "surrogatepass"))
        self.known: dict[str, dict[str, str]] = {"ipv4": {}, "ipv6": {}}

    def of(self, kind: str, address: str) -> str:
        choices, known = self.rules[kind]["stand_ins"], self.known[kind]
        return known.setdefault(address.lower(), choices[(self.first + len(known)) % len(choices)])


@functools.cache
def top_level_domains() -> frozenset[str]:
    """All of the public suffix list."""
    # The snapshot that ships with the package: no network, no cache on disk.
    suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=()).tlds
    return frozenset(suffix.rpartition(".")[2] for suffix in suffixes)


def lines_with(hint: str, text: str) -> Iterator[tuple[int, str]]:
    """Lines in which RE2 finds `hint`, each with its offset: Python is slow where no fixed character comes first.

    A backslash ends a line too: minified code inside a string has no other ends.
    """
    lines = text.replace("\\", "\n").split("\n")
    hits = pc.match_substring_regex(pa.array(lines), hint).to_pylist()
    offset = 0
    for line, hit in zip(lines, hits, strict=True):
        if hit:
            yield offset, line
        offset += len(line) + 1


def entropy(value: str) -> float:
    """Bits a character, by the characters' shares in the value."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values()) if value else 0.0


def is_random(value: str) -> bool:
    """Whether a machine drew the value: no words, no path, no reference, no UUID."""
    if len(value) < 16 or _REFERENCE.search(value) or _UUID.fullmatch(value):
        return False
    if not _has(value, "digit", "letter"):
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 20 and entropy(value) >= 3.0
    if len(_DIGITS.findall(value)) < 2 or entropy(value) < 3.3:
        return False
    return sum(map(len, _WORDS.findall(value))) < 0.5 * sum(map(str.isalnum, value))


def is_password(value: str) -> bool:
    """Whether a careful person chose the value: three of lower case, upper case, digits and punctuation."""
    if not 8 <= len(value) <= 64 or value[0] in "/.-%&" or _REFERENCE.search(value) or _UUID.fullmatch(value):
        return False
    kinds = [any(map(test, value)) for test in (str.islower, str.isupper, str.isdigit)]
    kinds.append(any(c in "!@#%^&*?~=|;,+" for c in value))
    return value.isascii() and kinds[2] and sum(kinds) >= 3


def _has(value: str, *kinds: str) -> bool:
    tests = {"digit": str.isdigit, "letter": str.isalpha}
    return all(any(map(tests[kind], value)) for kind in kinds)


def _is_mixed(value: str) -> bool:
    """Upper case, lower case and digits, as base64 of random bytes has them."""
    return all(any(map(test, value)) for test in (str.islower, str.isupper, str.isdigit))


def _is_token(value: str) -> bool:
    """A JSON web token: its header decodes to what names an algorithm."""
    header = value.partition(".")[0]
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(decoded, dict) and "alg" in decoded


def _is_free(text: str, start: int) -> bool:
    """Whether a word can begin here; the letter of an escape (`\\n`) is not part of a word."""
    before = text[max(start - 2, 0) : start]
    if not before or not (before[-1].isalnum() or before[-1] == "_"):
        return True
    return len(before) == 2 and before[0] == "\\" and before[1] in _ESCAPED
