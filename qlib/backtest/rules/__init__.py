"""The rules of a market, one per file, and `Market`, the five together.

fee.py      what a trade costs           lot.py      which amounts exist
limit.py    when nobody sells (or buys)  volume.py   how much of a bar one may take
impact.py   what size costs (Qlib's)     fills.py    spread, impact and stops, more realistic
short.py    positions below zero, margin, and what holding costs
market.py   Qlib's fifteen arguments and ours -> one Market
"""
