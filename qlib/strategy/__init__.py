"""The contract between a strategy and the backtest: see base.py."""
