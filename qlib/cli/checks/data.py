"""What a task reads is there and whole: the store, the market, the benchmark, every field for at least one instrument.

Nothing of the data is loaded: names of files are listed, their first bytes and sizes looked at, formulas parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qlib.cli.checks.objects import quiet_instance, resolve
from qlib.cli.checks.problem import Problem, is_instance_config
from qlib.cli.checks.times import portfolios, quote_freq
from qlib.data.active import shown
from qlib.data.dataset.handler import DataHandler
from qlib.data.dataset.loader import NestedDataLoader, QlibDataLoader
from qlib.data.expression.plan import build_plan
from qlib.data.provider import Provider
from qlib.data.provider.store import FileStore
from qlib.errors import InputError, did_you_mean
from qlib.utils.objects import accepted_arguments, argument_problems

SHOWN = 5  # of many missing names


def data_problems(task: Mapping[str, Any], provider: Provider) -> list[Problem]:
    """Return what a task reads in vain from the store of `provider`."""
    try:
        provider.stored_freqs()
    except (InputError, OSError) as error:
        return [Problem("qlib_init.provider_uri", str(error))]
    problems = list(_handler_problems(task, provider))
    for where, config in portfolios(task):
        problems += _portfolio_problems(where, config, provider)
    return list(dict.fromkeys(problems))  # handler and exchange read the same files


# --------------------------------------------------------------------------------------------------------- the handler
def _handler_problems(task: Mapping[str, Any], provider: Provider) -> Iterator[Problem]:
    dataset = task.get("dataset")
    kwargs = dataset.get("kwargs") if isinstance(dataset, Mapping) else None
    config = kwargs.get("handler") if isinstance(kwargs, Mapping) else None
    if not isinstance(config, Mapping) or not is_instance_config(config):
        return
    where = "task.dataset.kwargs.handler"
    function = resolve(config, "handler", where, [])
    own = config.get("kwargs") or {}
    if not (isinstance(function, type) and issubclass(function, DataHandler)) or argument_problems(function, own):
        return
    takes = accepted_arguments(function)
    if not (takes.anything or "init_data" in takes.names):
        return
    try:
        with shown(provider):  # a handler may ask the store which fields there are
            handler = quiet_instance(config, init_data=False)
    except InputError as error:
        yield Problem(f"{where}.kwargs", str(error))
        return
    except Exception as error:  # a handler of the user's may raise anything
        yield Problem(where, f"building it raises {type(error).__name__}: {error}")
        return
    for loader in loaders(handler.data_loader):
        for fields, freq in fields_by_freq(loader):
            names, found = universe_of(handler.instruments, freq, f"{where}.kwargs.instruments", provider)
            yield from found
            yield from _missing_fields(fields, names, freq, f"{where}.kwargs", provider)


def loaders(loader: Any) -> Iterator[QlibDataLoader]:
    """Yield the loaders of formulas in a loader."""
    if isinstance(loader, QlibDataLoader):
        yield loader
    elif isinstance(loader, NestedDataLoader):
        for inner in loader.data_loader_l:
            yield from loaders(inner)


def fields_by_freq(loader: QlibDataLoader) -> Iterator[tuple[list[str], str]]:
    """Yield (formulas, bar size) of what a loader loads."""
    groups = loader.fields if loader.is_group else {"": loader.fields}
    by_freq: dict[str, list[str]] = {}
    for group, (fields, _) in groups.items():
        freq = loader.freq[group] if isinstance(loader.freq, Mapping) else loader.freq
        by_freq.setdefault(freq, []).extend(fields)
    for freq, fields in by_freq.items():
        yield fields, freq


def universe_of(instruments: Any, freq: str, where: str, provider: Provider) -> tuple[list[str] | None, list[Problem]]:
    """Return the names of a universe (None: it cannot be known) and what is wrong with it."""
    market = "all" if instruments is None else instruments
    if isinstance(market, Mapping) and "market" in market:
        market = market["market"]
    try:
        provider.locate(freq)
        known = provider.store.stored_instruments(freq)
    except (InputError, OSError) as error:
        return None, [Problem(where, str(error))]
    if isinstance(market, str):
        try:
            return list(provider.store.spans(market, freq)), []
        except (InputError, OSError) as error:
            return known, [Problem(where, str(error))]  # fields are looked for all the same
    names, there = [str(name) for name in market], set(known)
    absent = [name for name in names if name.lower() not in there]
    problems = [
        Problem(where, f"there are no {freq} data of {name}{did_you_mean(name, known)}") for name in absent[:SHOWN]
    ]
    if len(absent) > SHOWN:
        problems.append(Problem(where, f"and of {len(absent) - SHOWN} more"))
    return [name for name in names if name.lower() in there], problems


def _missing_fields(
    fields: Iterable[str], names: list[str] | None, freq: str, where: str, provider: Provider
) -> Iterator[Problem]:
    wanted: set[str] = set()
    for field in dict.fromkeys(fields):
        try:
            wanted |= set(build_plan([field], compat=provider.settings["compat"], registry=provider.registry).reads)
        except InputError as error:
            yield Problem(where, str(error))
    if names is None or not wanted:
        return
    yield from _damaged_files(names, sorted(wanted), freq, provider)
    stored: set[str] = set()
    for name in names:
        stored.update(provider.stored_fields(name, freq))
        if wanted <= stored:
            return
    if not stored:
        yield Problem(where, f"none of the {len(names)} instruments has {freq} data")
        return
    for field in sorted(wanted - stored):
        nearest = did_you_mean(field, stored).replace("did you mean ", "did you mean $")
        have = ", ".join(f"${name}" for name in sorted(stored))
        yield Problem(where, f"no instrument has the field ${field} at {freq}{nearest or f'; stored are {have}'}")


def _damaged_files(names: list[str], fields: list[str], freq: str, provider: Provider) -> Iterator[Problem]:
    """Open every file that will be read, as reading one bar would; frames have none."""
    if not isinstance(provider.store, FileStore):
        return
    where, damaged = "qlib_init.provider_uri", 0
    for name in names:
        try:
            provider.store.read([name], fields, freq, 0, 0)
        except InputError as error:
            damaged += 1
            if damaged <= SHOWN:
                yield Problem(where, str(error))
    if damaged > SHOWN:
        yield Problem(where, f"and {damaged - SHOWN} more instruments with a damaged file")


# ------------------------------------------------------------------------------------------------------- the portfolio
def _portfolio_problems(where: str, config: Mapping[str, Any], provider: Provider) -> Iterator[Problem]:
    arguments = config.get("backtest")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    yield from _benchmark_problems(f"{where}.backtest.benchmark", arguments, provider)
    exchange = arguments.get("exchange_kwargs")
    exchange = exchange if isinstance(exchange, Mapping) else {}
    if "exchange" in exchange:
        return
    freq = quote_freq(config)
    place = f"{where}.backtest.exchange_kwargs"
    names, found = universe_of(exchange.get("codes", "all"), freq, place, provider)
    yield from found
    yield from _missing_fields(_quote_fields(exchange, provider), names, freq, place, provider)


def _benchmark_problems(where: str, arguments: Mapping[str, Any], provider: Provider) -> Iterator[Problem]:
    benchmark = arguments.get("benchmark", provider.settings.region.benchmark)
    names = [benchmark] if isinstance(benchmark, str) else benchmark if isinstance(benchmark, list | tuple) else []
    freqs = provider.stored_freqs()
    for name in map(str, names):
        if any("close" in provider.stored_fields(name, freq) for freq in freqs):
            continue
        known = sorted({stored for freq in freqs for stored in provider.store.stored_instruments(freq)})
        nearest = did_you_mean(name, [stored.upper() for stored in known])
        yield Problem(where, f"the data hold no close of {name}{nearest or '; write null for no benchmark'}")


def _quote_fields(exchange: Mapping[str, Any], provider: Provider) -> list[str]:
    """Return the formulas of prices, limits and volumes that an exchange reads."""
    price = exchange.get("deal_price") or provider.settings["deal_price"]
    if isinstance(price, str):
        fields = [price if price.startswith("$") else f"${price}"]
    else:
        fields = [str(part) for part in price]
    limit = exchange.get("limit_threshold")
    if isinstance(limit, list | tuple):
        fields += [part for part in limit if isinstance(part, str)]
    subscribed = exchange.get("subscribe_fields")
    fields += [str(part) for part in subscribed] if isinstance(subscribed, list | tuple) else []
    return ["$close", *fields]
