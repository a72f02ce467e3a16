"""Figures of predictions: what the groups of scores earned, IC, how fast the scores change.

from qlib.contrib.report import analysis_model
analysis_model.model_performance_graph(pred_label)                                 # in a notebook
figures = analysis_model.model_performance_graph(pred_label, show_notebook=False)      # anywhere
"""

from qlib.contrib.report.analysis_model.analysis_model_performance import model_performance_graph

__all__ = ["model_performance_graph"]
