"""One market, six spellings: what people and libraries write, and what the venue understands.

    BTC/USDT   BTC-USDT   BTC_USDT   BTCUSDT        the spot market
    BTC-USDT-SWAP   BTC/USDT:USDT   BTC/USD:BTC     a perpetual, linear and inverse
    BTC-USD-240628  BTC/USD:BTC-240628              a future and its last day

    parse("BTC/USDT:USDT").venue    'BTC-USDT-SWAP'
    parse("BTC/USDT").pair          'BTC/USDT'
    read_symbols("config/instruments.json")         the symbols of a file, as they are written there

A spelling without a kind is what it says, the spot market; `kind="swap"` asks for the perpetual of the same pair.
`BTCUSDT` has no mark between its parts: it is split before the longest known currency at its end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qlib.errors import InputError, did_you_mean

KINDS: Final = ("spot", "swap", "futures")
QUOTES: Final = ("USDT", "USDC", "USDG", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "GBP", "TRY", "BRL", "AUD", "SGD",
                 "AED", "BTC", "ETH", "BNB", "OKB", "DAI")  # fmt: skip

_PART: Final = r"[^\s./\-_:<>\"\\|?*]+"
_DATED: Final = re.compile(rf"({_PART})[-_]({_PART})[-_](\d{{6}})", re.ASCII)
_SWAP: Final = re.compile(rf"({_PART})[-_]({_PART})[-_]SWAP")
_UNIFIED: Final = re.compile(rf"({_PART})/({_PART})(?::({_PART})(?:-(\d{{6}}))?)?", re.ASCII)
_PAIR: Final = re.compile(rf"({_PART})[-_]({_PART})")


@dataclass(frozen=True, order=True)
class Symbol:
    """A market of a coin against a currency.

    >>> Symbol("BTC", "USDT", "swap").venue, Symbol("BTC", "USDT", "swap").pair
    ('BTC-USDT-SWAP', 'BTC/USDT')
    """

    base: str
    quote: str
    kind: str = "spot"
    expiry: str = ""  # futures: the last day, YYMMDD

    @property
    def venue(self) -> str:
        """The name at the venue, which is also the name in stores: no letter in it needs another one in a file name."""
        end = {"spot": "", "swap": "-SWAP", "futures": f"-{self.expiry}"}[self.kind]
        return f"{self.base}-{self.quote}{end}"

    @property
    def pair(self) -> str:
        """The pair, as in config/top50_symbols.json."""
        return f"{self.base}/{self.quote}"


def parse(text: str, kind: str | None = None) -> Symbol:
    """Return what a spelling means.

    Parameters
    ----------
    text
        Any of the six spellings, in upper or lower case.
    kind
        "spot" or "swap" where the spelling names a pair only; a spelling that says its kind keeps it.

    Raises
    ------
    InputError
        The text is none of the spellings, or there is no such kind.

    >>> parse("ethusdt"), parse("BTC/USDT", kind="swap").venue, parse("BTC/USD:BTC-240628").venue
    (Symbol(base='ETH', quote='USDT', kind='spot', expiry=''), 'BTC-USDT-SWAP', 'BTC-USD-240628')
    """
    if kind not in (None, "spot", "swap"):
        raise InputError(f"kind: received {kind!r}; spot or swap is allowed{did_you_mean(str(kind), KINDS[:2])}")
    word = str(text).strip().upper()
    if found := _DATED.fullmatch(word):
        return Symbol(found[1], found[2], "futures", found[3])
    if found := _SWAP.fullmatch(word):
        return Symbol(found[1], found[2], "swap")
    if found := _UNIFIED.fullmatch(word):
        if found[4]:
            return Symbol(found[1], found[2], "futures", found[4])
        return Symbol(found[1], found[2], "swap" if found[3] else kind or "spot")
    if found := _PAIR.fullmatch(word):
        return Symbol(found[1], found[2], kind or "spot")
    for quote in sorted(QUOTES, key=len, reverse=True):
        if re.fullmatch(_PART, word) and word.endswith(quote) and len(word) > len(quote):
            return Symbol(word[: -len(quote)], quote, kind or "spot")
    raise InputError(
        f"symbol: received {text!r}; a pair such as BTC-USDT, BTC/USDT or BTCUSDT, a perpetual such as BTC-USDT-SWAP "
        "or BTC/USDT:USDT, or a future such as BTC-USD-240628 is allowed"
    )


def read_symbols(path: str | Path) -> list[str]:
    """Return the symbols of a file, in its order, each once, as they are written there.

    A `.json` file is `{"symbols": [...]}` or a list, of texts or of tables `{"symbol": ..., ...}`; any other file has
    one symbol a line, of which the first column counts: an instruments file will do.

    Raises InputError, which names the file, for a file that cannot be read and one without symbols.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"{file} cannot be read: {reason}") from None
    if file.suffix.lower() == ".json":
        names = _of_json(text, file)
    else:
        names = [line.split("\t")[0].strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not names:
        raise InputError(f"{file} names no symbol")
    return list(dict.fromkeys(names))


def _of_json(text: str, file: Path) -> list[str]:
    try:
        table: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{file}: this is no JSON: {error}") from None
    if isinstance(table, dict):
        if "symbols" not in table:
            known = ", ".join(map(str, table)) or "(none)"
            hint = next((h for key in table if (h := did_you_mean(str(key), ["symbols"]))), "")
            raise InputError(f"{file}: the key symbols is missing; received {known}{hint}")
        table = table["symbols"]
    if not isinstance(table, list):
        raise InputError(f'{file}: received a {type(table).__name__}; {{"symbols": [...]}} or a list is allowed')
    names: list[str] = []
    for one in table:
        name = one.get("symbol") if isinstance(one, dict) else one
        if not isinstance(name, str) or not name.strip():
            raise InputError(f'{file}: symbols holds {one!r}; a text or a table {{"symbol": "BTC-USDT"}} is allowed')
        names.append(name.strip())
    return names
