"""Tools of collectors (a door: they live in qlib.collect.collector_tools and qlib.contrib.collectors.yahoo)."""

from qlib.collect.collector_tools import (
    calc_adjusted_price,
    calc_paused_num,
    deco_retry,
    generate_minutes_calendar_from_daily,
    get_br_stock_symbols,
    get_calendar_list_by_ratio,
    get_en_fund_symbols,
    get_hs_stock_symbols,
    get_in_stock_symbols,
    get_trading_date_by_shift,
    get_us_stock_symbols,
    symbol_prefix_to_sufix,
    symbol_suffix_to_prefix,
)
from qlib.contrib.collectors.index_lists import get_instruments
from qlib.contrib.collectors.yahoo import get_calendar_list

__all__ = [
    "calc_adjusted_price",
    "calc_paused_num",
    "deco_retry",
    "generate_minutes_calendar_from_daily",
    "get_br_stock_symbols",
    "get_calendar_list",
    "get_calendar_list_by_ratio",
    "get_en_fund_symbols",
    "get_hs_stock_symbols",
    "get_in_stock_symbols",
    "get_instruments",
    "get_trading_date_by_shift",
    "get_us_stock_symbols",
    "symbol_prefix_to_sufix",
    "symbol_suffix_to_prefix",
]
