# distutils: language = c++
# cython: boundscheck=False, wraparound=False
"""Names in the order of their scores, compiled: a strategy asks once a step.

    ranking = Ranking(("A", "B", "C", "D"), {"A": 0, "B": 1, "C": 2, "D": 3}, scores, ["C", "X"])     # [1., 3., 2., nan]
    ranking.all()                     ["B", "C", "A"]: best first, without those that have no score
    ranking.others()                  ["B", "A"]: not held
    ranking.sort(["C", "X"], ["B"])   ["B", "C", "X"]: best first, then those without a score by name

Equal scores keep the order of the names, in `sort` the order given.
"""

from libc.math cimport isnan
from libcpp.algorithm cimport partial_sort, sort
from libcpp.vector cimport vector


cdef struct Scored:
    double score
    Py_ssize_t place


cdef bint better(const Scored &one, const Scored &other) noexcept nogil:
    return one.score > other.score or (one.score == other.score and one.place < other.place)


cdef class Ranking:
    """Scores of a step and what is held.

    Parameters
    ----------
    names
        The names that may have a score.
    column
        Name to its place in `scores`.
    scores
        One a name, NaN for none.
    held
        The names that are held, whether they have a score or not.
    """

    cdef readonly set held
    cdef object names
    cdef dict column
    cdef const double[:] scores

    def __init__(self, names, dict column, const double[:] scores, held):
        if scores.shape[0] != len(names):
            raise ValueError(f"received {scores.shape[0]} scores for {len(names)} names")
        self.names, self.column, self.scores, self.held = names, column, scores, set(held)

    def all(self):
        """Return every scored name, best first."""
        return self._best(set(), 0)

    def others(self, Py_ssize_t count=0):
        """Return the scored names that are not held, best first: the first `count` of them where that is above 0."""
        return self._best(self.held, count)

    cdef Py_ssize_t _place(self, name) except -2:
        """Where the score of a name stands; -1 where it has none. A signal of the user's own may say anything."""
        found = self.column.get(name)
        if found is None:
            return -1
        cdef Py_ssize_t place = found
        if not 0 <= place < self.scores.shape[0]:
            raise ValueError(f"column: {name!r} is at place {place} of {self.scores.shape[0]} scores")
        return place

    cdef list _best(self, set left_out, Py_ssize_t count):
        cdef vector[char] out = vector[char](self.scores.shape[0], 0)
        cdef vector[Scored] found
        cdef Py_ssize_t i
        for name in left_out:
            i = self._place(name)
            if i >= 0:
                out[i] = 1
        found.reserve(self.scores.shape[0])
        for i in range(self.scores.shape[0]):
            if not out[i] and not isnan(self.scores[i]):
                found.push_back(Scored(self.scores[i], i))
        if count <= 0 or count > <Py_ssize_t> found.size():
            count = found.size()
        partial_sort(found.begin(), found.begin() + count, found.end(), &better)
        return [self.names[found[i].place] for i in range(count)]

    def sort(self, held, new):
        """Return both lists as one: best first, then those without a score by name."""
        cdef list names = [*held, *new], without = []
        cdef vector[Scored] found
        cdef Py_ssize_t i, place
        for i in range(len(names)):
            place = self._place(names[i])
            if place < 0 or isnan(self.scores[place]):
                without.append(names[i])
            else:
                found.push_back(Scored(self.scores[place], i))
        sort(found.begin(), found.end(), &better)
        without.sort()
        return [names[found[i].place] for i in range(<Py_ssize_t> found.size())] + without
