"""What a formula will cost, in words: what it reads, how far it looks, and which code runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlib.data.expression.node import Node, Operator, Scalar
from qlib.data.expression.plan import Plan, StepNumber, build_plan
from qlib.data.expression.sites import asked_elsewhere, leaves
from qlib.data.expression.span import EVERYTHING, Span


def explain(
    fields: str | Sequence[object], *, compat: str | None = None, registry: Mapping[str, type[Operator]] | None = None
) -> str:
    """Return the plan of one field or several, as text.

    One line a field: its canonical form, what it reads, how many rows it needs before and after its own (ahead 0: it
    never looks into the future), the code that makes it, and the dtype of that code's result.  Below, unless it is a
    single operator, the steps in order; #0 is the result of step 0.  What is evaluated for another instrument follows.

    >>> print(explain("Ref($close, -2) / Ref($close, -1) - 1"))
    Sub(Div(Ref($close,-2),Ref($close,-1)),1)  reads $close  back 0  ahead 2  kernel sub  float32
      0  $close      column  float32
      1  Ref(#0,-2)  shift   float32
      2  Ref(#0,-1)  shift   float32
      3  Div(#1,#2)  div     float32
      4  Sub(#3,1)   sub     float32  -> field 0
    >>> print(explain("$close / Mask(Mean($close, 5), 'SPY')"))
    Div($close,Mask(Mean($close,5),'spy'))  reads $close spy:$close  back 4  ahead 0  kernel div  float64
      0  $close                      column     float32
      1  Mask(Mean($close,5),'spy')  elsewhere  float64
      2  Div(#0,#1)                  div        float64  -> field 0
    at spy
      0  $close      column  float32
      1  Mean(#0,5)  mean    float64
    """
    many = [fields] if isinstance(fields, str) or not isinstance(fields, Sequence) else list(fields)
    plan = build_plan(many, compat=compat, registry=registry)
    lines = [_headline(plan, i) for i in range(len(plan.fields))]
    operators = [step for step in plan.steps if isinstance(step.node, Operator)]
    if len(lines) > 1 or len(operators) > 1:
        lines += _table(plan)
        for instrument, features in asked_elsewhere(plan.roots).items():
            lines += [f"at {instrument}", *_table(Plan([str(one) for one in features], features, compat), tell=False)]
    return "\n".join(lines)


def _headline(plan: Plan, field: int) -> str:
    root = plan.roots[field]
    reads = _reads([root], "")
    for instrument, features in asked_elsewhere([root]).items():
        reads += _reads(features, f"{instrument}:")
    return f"{root}  reads {' '.join(reads)}  {_words(root.span)}  kernel {_kernel(root)}  {root.dtype}"


def _reads(formulas: Sequence[Node], site: str) -> list[str]:
    read = leaves(*formulas)
    reported = {str(one) for over in read.reported for one in over.sources}
    return [f"{site}{name}" for name in (*sorted(f"${column}" for column in read.columns), *sorted(reported))]


def _words(span: Span) -> str:
    back, ahead = ("everything" if rows == EVERYTHING else int(rows) for rows in (span.back, span.ahead))
    return f"back {back}  ahead {ahead}"


def _kernel(node: object) -> str:
    return node.kernel_name() if isinstance(node, Operator) else "column"


def _table(plan: Plan, *, tell: bool = True) -> list[str]:
    """Return a line for each step; with `tell`, also which field it is."""
    rows = []
    for number, step in enumerate(plan.steps):
        operator = isinstance(step.node, Operator)
        text = step.node.write([_argument(a) for a in step.arguments]) if operator else str(step.node)
        wanted = f"-> field {', '.join(map(str, step.fields))}" if step.fields and tell else ""
        rows.append((str(number), text, _kernel(step.node), step.node.dtype, wanted))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]


def _argument(argument: StepNumber | Scalar) -> str:
    return f"#{argument.at}" if isinstance(argument, StepNumber) else str(argument)
