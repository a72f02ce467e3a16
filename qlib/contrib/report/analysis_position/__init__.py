"""Figures of a backtest: what it earned, at what risk, and what its buys, sells and holdings were worth.

from qlib.contrib.report import analysis_position
analysis_position.report_graph(report_normal_df)                               # in a notebook: shows the figure
figures = analysis_position.report_graph(report_normal_df, show_notebook=False)    # anywhere: returns it
"""

from qlib.contrib.report.analysis_position.cumulative_return import cumulative_return_graph
from qlib.contrib.report.analysis_position.rank_label import rank_label_graph
from qlib.contrib.report.analysis_position.report import report_graph
from qlib.contrib.report.analysis_position.risk_analysis import risk_analysis_graph
from qlib.contrib.report.analysis_position.score_ic import score_ic_graph

__all__ = ["cumulative_return_graph", "rank_label_graph", "report_graph", "risk_analysis_graph", "score_ic_graph"]
