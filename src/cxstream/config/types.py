"""The types of single settings. `Says` or the type itself tells what is expected, a ValueError what was found."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import pydantic
from annotated_types import Ge, Le, Len, MaxLen
from pydantic import AfterValidator, BeforeValidator, PlainSerializer, Strict, StringConstraints, WrapValidator

from cxstream.domain import vocabulary
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, format_instant, parse_instant
from cxstream.domain.windows import BUCKET_MS
from cxstream.vital_signs import CATALOGUE, TIERS


class Says(str):
    """What a value of a type must be: the rest of a sentence that begins with "expected"."""

    __slots__ = ()


def shown(given: object) -> str:
    """Write what was found, cut to a line and without credentials somebody put into an address."""
    return _cut(repr(given))


def _cut(text: str) -> str:
    text = re.sub(r"\S*@", "***@", text)
    return text if len(text) <= (most := 80) else f"{text[:most]}..."


def nearest(name: str, known: Iterable[str], form: str = "{}") -> str:
    """Return the known name most like this one, in words; nothing if none is."""
    return "".join(form.format(one) for one in difflib.get_close_matches(name, sorted(known), n=1))


_UNITS_MS = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS}


def format_duration(length_ms: int) -> str:
    """Write whole seconds as one number and unit, in days only from a week on: 90d, 72h, 15m, 45s."""
    units = ((unit, unit_ms, 7 if unit == "d" else 1) for unit, unit_ms in _UNITS_MS.items())
    fits = (f"{length_ms // ms}{unit}" for unit, ms, least in units if not length_ms % ms and length_ms >= least * ms)
    return next(fits, "0s")


def duration_ms(given: object, low_ms: int = 0, high_ms: int = 10**9 * DAY_MS) -> int:
    """Read a number and its unit as milliseconds."""
    match = re.fullmatch(r"([0-9]{1,9})([dhms])", given) if isinstance(given, str) else None
    length_ms = int(match[1]) * _UNITS_MS[match[2]] if match else -1
    if not low_ms <= length_ms <= high_ms:
        raise ValueError(f"found {shown(given)}")
    return length_ms


def _window(label: str) -> str:
    """Check a window; its label is kept, because that is published: 24h and 1d are two names of one length."""
    if label.startswith("0") or label.endswith("s") or duration_ms(label, BUCKET_MS, 3660 * DAY_MS) % BUCKET_MS:
        raise ValueError(f"found {shown(label)}")
    return label


def _horizon(given: object) -> int:
    length_ms = duration_ms(given, BUCKET_MS, DAY_MS)
    if length_ms % BUCKET_MS:
        raise ValueError(f"found {shown(given)}")
    return length_ms


def _instant(given: object) -> int:
    """Read a time as milliseconds since the epoch; TOML has times of its own."""
    text = given.isoformat() if isinstance(given, datetime) else given
    try:
        return parse_instant(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(f"found {shown(given)}") from None


def _sign(name: str) -> str:
    if name not in CATALOGUE:
        raise ValueError(f"found {shown(name)}{nearest(name, CATALOGUE, ', did you mean {}?')}")
    return name


def _tier(given: object) -> object:
    if not isinstance(given, str) or given.upper() not in TIERS:
        raise ValueError(f"found {shown(given)}")
    return given.upper()


def _capitals(given: object) -> object:
    return given.upper() if isinstance(given, str) else given


def _path(given: object) -> object:
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise ValueError(f"found {shown(given)}")
    return given


def _there(path: Path) -> Path:
    if not os.path.isfile(path):  # noqa: PTH113  # is_file() raises an error if a name is too long
        raise ValueError(f"there is no file {shown(str(path))}")
    return path


def _encodable(secret: pydantic.SecretStr) -> pydantic.SecretStr:
    secret.get_secret_value().encode()  # fails for bytes that are not UTF-8
    return secret


def _different(given: object) -> object:
    for item, count in Counter(map(repr, given)).items() if isinstance(given, list) else ():
        if count > 1:
            raise ValueError(f"found {_cut(item)} {count} times")
    return given


def _different_keys(given: object, read: pydantic.ValidatorFunctionWrapHandler) -> object:
    entries = read(given)
    if isinstance(given, dict) and len(entries) < len(given):
        raise ValueError("found a key twice")
    return entries


_ASCII = "of letters, digits, '.', '_' and '-', at most 200"
_HOST = r"([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
_PRINTABLE = StringConstraints(pattern=r"^[^\p{C}\p{Z}]([^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$")
_TIME = "a duration (30d, 72h, 15m or 45s) from {} to 3650d"
_K = TypeVar("_K")
_V = TypeVar("_V")
_DIFFERENT = BeforeValidator(_different)
_delay, _span = (partial(duration_ms, low_ms=low_ms, high_ms=3650 * DAY_MS) for low_ms in (0, MINUTE_MS))

Different = Annotated[tuple[_V, ...], _DIFFERENT, MaxLen(1000)]
Table = Annotated[dict[_K, _V], WrapValidator(_different_keys), MaxLen(1000)]

Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Seconds = Annotated[float, Strict(), pydantic.AllowInfNan(False)]  # noqa: FBT003  # its only argument
Ratio = Annotated[float, Strict(), Ge(0.01), Le(0.9999), Says("a ratio from 0.01 to 0.9999")]
Delay = Annotated[int, BeforeValidator(_delay), PlainSerializer(format_duration), Says(_TIME.format("0s"))]
Span = Annotated[int, BeforeValidator(_span), PlainSerializer(format_duration), Says(_TIME.format("1m"))]

Horizon = Annotated[
    int, BeforeValidator(_horizon), PlainSerializer(format_duration), Says("a multiple of 5m, at most 24h")
]

Instant = Annotated[
    int,
    BeforeValidator(_instant),
    PlainSerializer(format_instant),
    Says("a time with an offset, like 2026-03-02T00:00:00Z"),
]

Priority = Annotated[
    str,
    BeforeValidator(_capitals),
    StringConstraints(pattern=f"^({'|'.join(vocabulary.PRIORITIES)})$"),
    Says("P1, P2 or P3"),
]
ByPriority = Table[Priority, Span]
Kind = Annotated[
    str, StringConstraints(pattern=f"^({'|'.join(vocabulary.TOPICS)})$"), Says(", ".join(vocabulary.TOPICS))
]

Secret = Annotated[pydantic.SecretStr, Len(1), AfterValidator(_encodable), Says("text that is not empty")]
User = Annotated[str, _PRINTABLE, Says("a user name")]
Scope = Annotated[str, _PRINTABLE, MaxLen(1000), Says("scopes, separated by spaces")]
Extension = Annotated[str, StringConstraints(pattern="^[A-Za-z]{1,100}$"), Says("a name of letters")]
ExtensionValue = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x2b\x2d-\x7e]{1,1000}$"), Says("text without spaces and commas")
]
Label = Annotated[str, _PRINTABLE, MaxLen(100), Says("a label value of at most 100 characters")]
SourceNames = Annotated[tuple[Label, ...], _DIFFERENT, MaxLen(10)]
Name = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._-]{1,200}$"), Says(f"a name {_ASCII}")]
Topic = Annotated[
    str,
    StringConstraints(pattern=r"^\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=200),
    Says(f"a topic name {_ASCII}"),
]
TopicOrNone = Annotated[
    str,
    BeforeValidator(lambda given: "none" if isinstance(given, str) and given.lower() in ("", "none") else given),
    StringConstraints(pattern=r"^\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=200),
    Says(f"a topic name {_ASCII}; or none"),
]
Host = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._:-]+$"), Says("an address or host name")]
Addresses = Annotated[
    str,
    StringConstraints(pattern=rf"^{_HOST}:[0-9]{{1,5}}(,{_HOST}:[0-9]{{1,5}})*$"),
    Says("addresses host:port, separated by commas, like kafka-1:9092,kafka-2:9092"),
]
Url = Annotated[
    str,
    StringConstraints(pattern=rf"^https?://{_HOST}(:[0-9]{{1,5}})?(/[^\s?#@]*)?$"),
    Says("an http or https URL without credentials in it, like https://registry:8081"),
]
HttpsUrl = Annotated[
    str,
    StringConstraints(pattern=rf"^https://{_HOST}(:[0-9]{{1,5}})?(/[^\s#@]*)?$"),
    Says("an https URL without credentials in it, like https://login.example.org/oauth2/token"),
]
Folder = Annotated[Path, BeforeValidator(_path), Says("a path")]
File = Annotated[Path, AfterValidator(_there), BeforeValidator(_path), Says("the path of a file that is there")]

SignName = Annotated[str, AfterValidator(_sign), Says("the name of a vital sign")]
SignTier = Annotated[str, BeforeValidator(_tier), Says(f"a tier of vital signs: {', '.join(TIERS)}")]
SignTiers = Annotated[tuple[SignTier, ...], _DIFFERENT, Len(1, len(TIERS))]
SchemaId = Annotated[int, Ge(0), Le(2**32 - 1), Says(f"a whole number from 0 to {2**32 - 1}")]
SchemaName = Annotated[
    str, StringConstraints(pattern="^[a-z]+/v[0-9]{1,4}$"), Says("a packaged schema, like ticket/v1")
]
Window = Annotated[str, AfterValidator(_window), Says("a length like 1h, 24h or 7d, a multiple of 5m up to 3660d")]
Windows = Annotated[tuple[Window, ...], _DIFFERENT, Len(1, 8)]
LevelName = Annotated[
    str, StringConstraints(pattern="^[a-z]+(_[a-z]+)*$"), Says("job or dimensions joined by '_', like region_product")
]
LevelWindow = Annotated[str, Says("a window of ledger.windows, or 'all'")]
LevelWindows = Annotated[tuple[LevelWindow, ...], _DIFFERENT, Len(1, 8)]
Levels = Annotated[dict[LevelName, LevelWindows], MaxLen(8)]
AssetId = Annotated[str, _PRINTABLE, Says("an asset id")]
AssetIds = Annotated[frozenset[AssetId], _DIFFERENT, MaxLen(1000), PlainSerializer(sorted)]
