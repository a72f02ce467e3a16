"""Metrics as pure functions on pandas Series: nothing here reads a setting, a store or a clock.

ic.py        does the prediction rank what followed?     (per date, Pearson and Spearman)
groups.py    what did the best and the worst names earn? (quantiles, long-short, hit rates)
risk.py      mean, deviation, drawdown of a return series and the length of a year
trades.py    fill rate and price advantage of executed orders
significance.py  what would luck alone have shown?       (PSR, deflated Sharpe, track record, Newey-West)
bootstrap.py     in what range does the true value lie?  (stationary bootstrap)
"""
