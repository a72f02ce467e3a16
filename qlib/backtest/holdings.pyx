"""What happens to every holding at the end of every step, compiled: {"amount": 5.0, "price": 10.0, ...}, by the dozen.

    prices = marks(column, row, ["A", "B"])             [10.5, None]: None where there is no price
    worth({"A": {...}}, column, row, ["A"])             [52.5]: at the row's prices, else at the last ones
    earned, value = close_bar(holdings, prices, "count_day")
    weigh(holdings, account)
    numbers = pack(holdings, ("amount", "price"))       bytes of float64, None where the holdings are of unequal kinds

The holdings stay plain dicts that anybody may read and change. The sums are those of the same lines in Python, to the
last bit.
"""

from libc.math cimport isnan
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize


ctypedef fused Row:
    const float[:]
    const double[:]


def marks(dict column, Row row, names):
    """Return row[column[name]] for each name; None where there is none, or a NaN."""
    cdef list found = []
    cdef double price
    for name in names:
        place = column.get(name)
        if place is None:
            found.append(None)
            continue
        price = row[<Py_ssize_t> place]
        found.append(None if isnan(price) else price)
    return found


def worth(dict table, dict column, Row row, names):
    """Return amount x price of each holding: the price of `row` where it is above 0, else the holding's own."""
    cdef list found = []
    cdef dict held
    cdef double price
    for name in names:
        held = table[name]
        place = column.get(name)
        price = 0.0 if place is None else row[<Py_ssize_t> place]
        if not price > 0.0:
            price = held["price"]
        found.append(price * <double> held["amount"])
    return found


def close_bar(list holdings, list prices, str count):
    """Mark holdings and count the bar; return what the new prices earned, and what everything is worth at them.

    Where a price is None the last one stays.
    """
    cdef double earned = 0.0, value = 0.0, amount, price
    cdef dict held
    if len(holdings) != len(prices):
        raise ValueError(f"received {len(prices)} prices for {len(holdings)} holdings")
    for held, new in zip(holdings, prices):
        amount = held["amount"]
        if new is not None:
            price = new
            old = held.get("price")
            if old is not None:
                earned += amount * (price - <double> old)
            held["price"] = new
        else:
            price = held["price"]
        value += amount * price
        held[count] = held.get(count, 0) + 1
    return earned, value


def weigh(list holdings, double total):
    """Set every weight to value / `total`."""
    cdef dict held
    for held in holdings:
        held["weight"] = <double> held["amount"] * <double> held["price"] / total if total != 0.0 else 0.0


def pack(list holdings, tuple keys):
    """Return the numbers of every holding under `keys`, one holding after the other; None where one has other keys."""
    cdef Py_ssize_t width = len(keys), at = 0
    cdef dict held
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, len(holdings) * width * sizeof(double))
    cdef double *numbers = <double *> PyBytes_AS_STRING(packed)
    for held in holdings:
        if len(held) != width:
            return None
        for key in keys:
            number = held.get(key)
            if number is None:
                return None
            numbers[at] = number
            at += 1
    return packed
