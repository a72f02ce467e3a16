"""What happens to every holding at the end of every step, compiled: {"amount": 5.0, "price": 10.0, ...}, by the dozen.

    table = {"cash": 3.0, "A": {"amount": 5.0, "price": 10.0}}, own = frozenset({"cash"})

    prices = marks(column, row, ["A", "B"])             [10.5, None]: None where there is no price
    worth(table, column, row, ["A"])                    [52.5]: at the row's prices, else at the last ones
    earned, value = close_bar(table, own, prices, "count_day")
    earned, value, stale, theirs = close_at(table, own, column, row, "count_day")
    weigh(table, own, account)
    numbers = pack(table, own, ("amount", "price"))     bytes of float64, None where the holdings are of unequal kinds

The table is a plain dict of dicts that anybody may read and change; `own` are the keys that are no holdings. The sums
are those of the same lines in Python, to the last bit.
"""

from libc.math cimport NAN, isnan
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


cdef double mark(dict held, double amount, double price) except? -1.0:
    """Give a holding a new price; return what that earned."""
    old = held.get("price")
    held["price"] = price
    return 0.0 if old is None else amount * (price - <double> old)


def close_bar(dict table, frozenset own, list prices, str count):
    """Mark holdings and count the bar; return what the new prices earned, and what everything is worth at them.

    `prices` are those of the holdings in their order. Where one is None the last one stays.
    """
    cdef double earned = 0.0, value = 0.0, amount, price
    cdef Py_ssize_t at = 0, given = len(prices)
    cdef dict held
    for name, entry in table.items():
        if name in own:
            continue
        if at == given:
            raise ValueError(f"received {given} prices for more holdings")
        held = entry
        new = prices[at]
        at += 1
        amount = held["amount"]
        if new is not None:
            price = new
            earned += mark(held, amount, price)
        else:
            price = held["price"]
        value += amount * price
        held[count] = held.get(count, 0) + 1
    if at != given:
        raise ValueError(f"received {given} prices for {at} holdings")
    return earned, value


def close_at(dict table, frozenset own, dict column, Row row, str count):
    """Do what `close_bar` does with row[column[name]]; NaN, or no place, is no price.

    Return besides how many holdings have no price, and what they are worth.
    """
    cdef double earned = 0.0, value = 0.0, theirs = 0.0, amount, price
    cdef Py_ssize_t stale = 0
    cdef dict held
    for name, entry in table.items():
        if name in own:
            continue
        held = entry
        amount = held["amount"]
        place = column.get(name)
        price = NAN if place is None else row[<Py_ssize_t> place]
        if isnan(price):
            price = held["price"]
            stale += 1
            theirs += amount * price
        else:
            earned += mark(held, amount, price)
        value += amount * price
        held[count] = held.get(count, 0) + 1
    return earned, value, stale, theirs


def weigh(dict table, frozenset own, double total):
    """Set every weight to value / `total`."""
    cdef dict held
    for name, entry in table.items():
        if name not in own:
            held = entry
            held["weight"] = <double> held["amount"] * <double> held["price"] / total if total != 0.0 else 0.0


def pack(dict table, frozenset own, tuple keys):
    """Return the numbers of every holding under `keys`, one holding after the other; None where one has other keys."""
    cdef Py_ssize_t width = len(keys), at = 0, room = len(table) * width
    cdef dict held
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, room * sizeof(double))
    cdef double *numbers = <double *> PyBytes_AS_STRING(packed)
    for name, entry in table.items():
        if name in own:
            continue
        held = entry
        if len(held) != width:
            return None
        for key in keys:
            number = held.get(key)
            if number is None:
                return None
            numbers[at] = number
            at += 1
    return packed[:at * sizeof(double)]
