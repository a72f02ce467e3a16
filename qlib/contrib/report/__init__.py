"""Reports of a run.

run_report.py        write_report(recorder): the page and its JSON twin
artifacts.py         what the run left behind
numbers.py           the twin: every number, computed once (the *_numbers modules, facts, caveats)
page.py              the page, drawn from the twin (figures/, drawing, words, templates/)
comparison.py        write_comparison(recorders, folder): several runs on one page

Qlib's plotly figures, for notebooks:

analysis_position/   of a backtest                graph.py   frames as figures
analysis_model/      of predictions               utils.py   breaks of a time axis, axes of matplotlib
data/                of features (matplotlib)
"""

# Qlib's list of its figures; the page of a run is drawn by page.py
GRAPH_NAME_LIST = [
    "analysis_position.report_graph",
    "analysis_position.score_ic_graph",
    "analysis_position.cumulative_return_graph",
    "analysis_position.risk_analysis_graph",
    "analysis_position.rank_label_graph",
    "analysis_model.model_performance_graph",
]
