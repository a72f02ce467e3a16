"""Metrics as pure functions on pandas Series: nothing here reads a setting, a store or a clock.

of a prediction   ic.py            does it rank what followed?               (per date, Pearson and Spearman)
                  groups.py        what did the best and the worst earn?     (by place: long-short, hit rates)
                  factor.py        what is it worth as a factor?             (weights, quantiles, turnover)
of returns        risk.py          Qlib's five figures, the length of a year
                  performance.py   growth, risk, ratios, any of them over a window
                  relative.py      against a benchmark                       (beta, alpha, captures)
                  capacity.py      how much money would have fitted?
of luck           significance.py  what would noise have shown?              (PSR, deflated Sharpe, Newey-West)
                  bootstrap.py     in what range does the true value lie?    (stationary bootstrap)
of orders         trades.py        fill rate and price advantage
"""
