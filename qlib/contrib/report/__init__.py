"""Reports of a run.

run_report.py        write_report(recorder): the page and its JSON twin
artifacts.py         what the run left behind
numbers.py           the twin: every number, computed once (signal_numbers, portfolio_numbers, facts, caveats)
page.py              the page, drawn from the twin (figures, drawing, words)
"""
