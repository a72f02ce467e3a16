# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""Programs: instructions over registers of eight instruments, run on all instruments of a panel.

    program = Program(steps, registers, sets)          what to do, in order
    program.run(groups, sources, targets, ...)         on arrays; the GIL is released while it works

Everything is a plain tuple here; `qlib.data.expression.lowering` writes them, the .hpp files say what they mean.
"""

import array

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cdef extern from "common.hpp" namespace "qlib_kernels" nogil:
    const int MOST_INPUTS, MOST_OUTPUTS

    cdef cppclass Step:
        const char* name
        int* in_ "in"
        double* scalar
        int outs
        int* out
        int* what
        double* parameter
        bint wide
        Py_ssize_t window, lag
        int set
        bint revives
        int place

    cdef cppclass Register:
        bint wide
        Py_ssize_t history, lag
        int slot

    cdef cppclass Source:
        const void* base
        bint wide
        const int64_t* offset
        const int64_t* first
        const int64_t* count
        Py_ssize_t stride

    cdef cppclass Target:
        void* base
        bint wide, kept

    cdef cppclass Job:
        Py_ssize_t instruments
        const int64_t* begin
        const int64_t* end
        const Source* sources
        const Target* targets
        const int64_t* range_of
        const int64_t* range_low
        const int64_t* range_high
        const int64_t* range_to
        const int64_t* row_of
        const int64_t* start
        Py_ssize_t low, high, last
        bint past_cache

    cdef cppclass Code:
        Py_ssize_t steps, registers, sets, slots, sources
        const Step* step
        const Register* reg
        const int64_t* set_from
        const int64_t* set_source

    cdef cppclass Machine:
        double* seconds
        void batch(const Job& job, const int64_t* lanes) except +
        void open(const Job& job, const int64_t* lanes) except +
        void more(const Job& job) except +

    Machine* make_baseline(const Code& code, const char** wrong) except +

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    static int instruction_set() {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return 3;
        return 0;
    }
    static qlib_kernels::Machine* make_machine(int level, const qlib_kernels::Code& code, const char** wrong) {
        if (level == 3) return qlib_kernels::make_v3(code, wrong);
        return qlib_kernels::make_baseline(code, wrong);
    }
    #else
    static int instruction_set() { return 0; }
    static qlib_kernels::Machine* make_machine(int, const qlib_kernels::Code& code, const char** wrong) {
        return qlib_kernels::make_baseline(code, wrong);
    }
    #endif
    """
    int instruction_set() nogil
    Machine* make_machine(int level, const Code& code, const char** wrong) except + nogil

cdef extern from "what.hpp" namespace "qlib_kernels":
    int COUNT, SUM, MEAN, VAR, STD, SKEW, KURT, SLOPE, RSQUARE, RESI, WMA, WMA_AGAIN, BEST, PLACE, COV, CORR, RANK, QUANTILE

WHAT = {
    "count": COUNT, "sum": SUM, "mean": MEAN, "var": VAR, "std": STD, "skew": SKEW, "kurt": KURT, "slope": SLOPE,
    "rsquare": RSQUARE, "resi": RESI, "wma": WMA, "wma_again": WMA_AGAIN, "best": BEST, "place": PLACE, "cov": COV,
    "corr": CORR, "rank": RANK, "quantile": QUANTILE,
}
LANES = 8
MOST_READINGS = MOST_OUTPUTS
CACHE = 32 << 20  # bytes; of larger results little would be left there for whoever reads them
_LEVELS = {"baseline": 0, "v3": 3}
_BEST = instruction_set()


def instruction_sets():
    """Return the names of the instruction sets that this machine can run, the widest last."""
    return [name for name, level in _LEVELS.items() if level <= _BEST]


cdef class _Flat:
    """A contiguous array, held while a program runs."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, object array, bint writable):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef int _is_wide(_Flat flat) except -1:
    if flat.view.ndim != 1:
        raise TypeError("a program works on flat arrays")
    if flat.view.format[0] not in (b"f", b"d") or flat.view.format[1] != 0:
        raise TypeError("a program works on float32 and float64")
    return flat.view.format[0] == b"d"


cdef class Program:
    """Instructions, registers and sets of columns; see the module.

    Parameters
    ----------
    steps
        Tuples (name, inputs, scalars, outputs, readings, parameters, wide, window, lag, set, revives, place).
    registers
        Tuples (wide, history, lag, slot).
    sets
        For every set the numbers of its sources.
    """

    cdef Step* steps
    cdef Register* registers
    cdef object names, set_from, set_source
    cdef Code code
    cdef readonly int sources, slots, targets

    def __cinit__(self, object steps, object registers, object sets, int sources, int slots):
        cdef Py_ssize_t i, k
        self.steps = <Step*> calloc(max(len(steps), 1), sizeof(Step))
        self.registers = <Register*> calloc(max(len(registers), 1), sizeof(Register))
        if self.steps == NULL or self.registers == NULL:
            raise MemoryError
        self.names = []
        self.sources, self.slots = sources, slots
        for i, (name, inputs, scalars, outputs, readings, parameters, wide, window, lag, own, revives, place) in enumerate(steps):
            text = name.encode()
            self.names.append(text)
            self.steps[i].name = text
            if len(inputs) > MOST_INPUTS or len(outputs) > MOST_OUTPUTS:
                raise ValueError(f"{name}: {len(inputs)} inputs and {len(outputs)} outputs are too many")
            for k in range(MOST_INPUTS):
                self.steps[i].in_[k] = inputs[k] if k < len(inputs) else -1
                self.steps[i].scalar[k] = scalars[k] if k < len(scalars) else 0.0
                if self.steps[i].in_[k] >= <int> len(registers):
                    raise ValueError(f"{name}: there is no register {inputs[k]}")
            self.steps[i].outs = len(outputs)
            for k in range(len(outputs)):
                self.steps[i].out[k] = outputs[k]
                self.steps[i].what[k] = readings[k] if k < len(readings) else 0
                self.steps[i].parameter[k] = parameters[k] if k < len(parameters) else 0.0
                if not 0 <= self.steps[i].out[k] < <int> len(registers):
                    raise ValueError(f"{name}: there is no register {outputs[k]}")
            self.steps[i].wide = wide
            self.steps[i].window = window
            self.steps[i].lag = lag
            self.steps[i].set = own
            self.steps[i].revives = revives
            self.steps[i].place = place
            if name in ("store", "store_div"):
                self.targets = max(self.targets, place + 1)
            elif name == "load" and not 0 <= place < sources:
                raise ValueError(f"load: there is no source {place}")
            if window < 0 and name != "shift":
                raise ValueError(f"{name}: received window {window}, allowed are 0 (all rows so far) and more")
        for i, (wide, history, lag, slot) in enumerate(registers):
            self.registers[i].wide = wide
            self.registers[i].history = history
            self.registers[i].lag = lag
            self.registers[i].slot = slot
        begins = [0]
        flat = []
        for members in sets:
            flat += members
            begins.append(len(flat))
        self.set_from = _longs(begins)
        self.set_source = _longs(flat)
        self.code.steps, self.code.registers, self.code.sets = len(steps), len(registers), len(sets)
        self.code.slots, self.code.sources = slots, sources
        self.code.step, self.code.reg = self.steps, self.registers
        cdef const int64_t[::1] a = self.set_from
        cdef const int64_t[::1] b = self.set_source
        self.code.set_from, self.code.set_source = &a[0], &b[0]

    def __dealloc__(self):
        free(self.steps)
        free(self.registers)

    cdef Machine* machine(self, str isa) except NULL:
        cdef const char* wrong = NULL
        cdef int level = _BEST
        if isa is not None:
            if isa not in instruction_sets():
                raise ValueError(f"instruction set: received {isa!r}, this machine has {', '.join(instruction_sets())}")
            level = _LEVELS[isa]
        cdef Machine* made = make_machine(level, self.code, &wrong)
        if made == NULL:
            raise KeyError(f"no instruction is called {(<bytes> wrong).decode()}")
        return made


def _longs(values):
    return array.array("q", [*values, 0])


cdef class Work:
    """The arrays that a program reads and writes.

    Parameters
    ----------
    begin, end
        int64, the hull of each instrument: calendar positions of its first row and behind its last.
    sources
        Tuples (values, offset, first, count): float32 or float64 values, and three int64 arrays with one entry per
        instrument (they may have a stride, as columns of a table have).
    targets
        Tuples (array, kept): float32 or float64; `kept` writes the wanted rows, else every row of the hull.
    range_of, range_low, range_high, range_to
        Instrument i wants the calendar positions range_low[k] ... range_high[k] - 1 at range_to[k], for
        range_of[i] <= k < range_of[i + 1].
    row_of
        If given, what range_to counts is looked up in this table: the row where the value goes.
    start
        Row of each instrument where every row of the hull is written.
    low, high
        Calendar positions outside of which nothing is looked at.
    last
        Calendar position of the last row that the caller wants.
    past_cache
        Whether values go to memory past the cache; by default, where there are more than CACHE bytes of them.
    """

    cdef Job job
    cdef Source* sources
    cdef Target* targets
    cdef list held, source_sizes, source_counts, target_sizes
    cdef Py_ssize_t instruments

    def __cinit__(self, begin, end, sources, targets, range_of, range_low, range_high, range_to, start, low, high, last, row_of=None, past_cache=None):
        cdef Py_ssize_t i, size = 0
        cdef _Flat flat
        cdef const int64_t[:] view
        self.held, self.source_sizes, self.source_counts, self.target_sizes = [], [], [], []
        self.instruments = len(begin)
        self.sources = <Source*> calloc(max(len(sources), 1), sizeof(Source))
        self.targets = <Target*> calloc(max(len(targets), 1), sizeof(Target))
        if self.sources == NULL or self.targets == NULL:
            raise MemoryError
        for i, (values, offset, first, count) in enumerate(sources):
            flat = _Flat(values, False)
            self.held.append(flat)
            self.sources[i].base = flat.view.buf
            self.sources[i].wide = _is_wide(flat)
            self.source_sizes.append(flat.view.shape[0])
            self.source_counts.append(len(offset) if len(offset) == len(first) == len(count) else -1)
            self.sources[i].offset = self.column(offset, &self.sources[i].stride)
            self.sources[i].first = self.column(first, &self.sources[i].stride)
            self.sources[i].count = self.column(count, &self.sources[i].stride)
        for i, (values, kept) in enumerate(targets):
            flat = _Flat(values, True)
            self.held.append(flat)
            self.targets[i].base = flat.view.buf
            self.targets[i].wide = _is_wide(flat)
            self.targets[i].kept = kept
            self.target_sizes.append(flat.view.shape[0])
            size += flat.view.len
        cdef Py_ssize_t one = 0
        self.job.instruments = self.instruments
        self.job.begin, self.job.end = self.column(begin, &one), self.column(end, &one)
        self.job.sources, self.job.targets = self.sources, self.targets
        self.job.range_of = self.column(range_of, &one)
        self.job.range_low, self.job.range_high = self.column(range_low, &one), self.column(range_high, &one)
        self.job.range_to = self.column(range_to, &one)
        self.job.start = self.column(start, &one)
        self.job.low, self.job.high, self.job.last = low, high, last
        self.job.past_cache = size > CACHE if past_cache is None else past_cache
        if row_of is not None:
            self.job.row_of = self.column(row_of, &one)
            if one != 1:
                raise ValueError("row_of must be contiguous")
        self.check_table(row_of)
        self.check(len(begin), len(end), len(range_of), len(range_low), len(range_high), len(range_to), len(start))

    cdef int check_table(self, object row_of) except -1:
        """The table of rows names rows that are there, and the ranges keep to the table."""
        if row_of is None:
            return 0
        cdef const int64_t[:] table = row_of
        cdef Py_ssize_t k, last = -1
        for k in range(table.shape[0]):
            if table[k] < 0:
                raise ValueError(f"row_of: received row {table[k]}")
            last = max(last, table[k])
        for k in range(len(self.target_sizes)):
            if self.targets[k].wide or not self.targets[k].kept:
                raise ValueError("row_of: only wanted rows of float32 can be placed by a table")
            if last >= self.target_sizes[k]:
                raise ValueError(f"target {k}: row {last} does not fit into {self.target_sizes[k]} rows")
            self.target_sizes[k] = table.shape[0]
        return 0

    cdef int check(
        self, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t of, Py_ssize_t low, Py_ssize_t high, Py_ssize_t to,
        Py_ssize_t start,
    ) except -1:
        """Nothing may be read or written outside of the arrays, whatever was given."""
        cdef Py_ssize_t i, k, n = self.instruments
        cdef Source* source
        cdef Job* job = &self.job
        if end != n or start != n or of != n + 1 or high != low or to != low:
            raise ValueError(f"{n} instruments need as many ends and starts, {n + 1} range_of, and as many range_high and range_to as range_low")
        for i in range(n):
            if job.begin[i] < 0 or job.end[i] < job.begin[i]:
                raise ValueError(f"instrument {i}: received rows from position {job.begin[i]} to {job.end[i]}")
            if job.range_of[i] < 0 or job.range_of[i + 1] < job.range_of[i] or job.range_of[i + 1] > low:
                raise ValueError(f"instrument {i}: received ranges {job.range_of[i]} to {job.range_of[i + 1]} of {low}")
        for k in range(len(self.source_sizes)):
            source = &self.sources[k]
            if self.source_counts[k] != n:
                raise ValueError(f"source {k}: received places of {self.source_counts[k]} instruments, there are {n}")
            for i in range(n):
                if source.count[i * source.stride] <= 0:
                    continue
                if (
                    source.offset[i * source.stride] < 0
                    or source.first[i * source.stride] < 0
                    or source.offset[i * source.stride] + source.count[i * source.stride] > self.source_sizes[k]
                ):
                    raise ValueError(f"source {k}: the values of instrument {i} are not inside its array")
        for k in range(low):
            if job.range_high[k] < job.range_low[k] or job.range_to[k] < 0:
                raise ValueError(f"range {k}: received positions {job.range_low[k]} to {job.range_high[k]} for row {job.range_to[k]}")
        for i in range(len(self.target_sizes)):
            if self.targets[i].kept:
                for k in range(low):
                    if job.range_to[k] + job.range_high[k] - job.range_low[k] > self.target_sizes[i]:
                        raise ValueError(f"target {i}: range {k} does not fit into {self.target_sizes[i]} rows")
            else:
                for k in range(n):
                    if job.start[k] < 0 or job.start[k] + job.end[k] - job.begin[k] > self.target_sizes[i]:
                        raise ValueError(f"target {i}: instrument {k} does not fit into {self.target_sizes[i]} rows")
        return 0

    cdef const int64_t* column(self, object values, Py_ssize_t* stride) except? NULL:
        cdef const int64_t[:] view = values
        self.held.append(values)
        if view.shape[0] == 0:
            return NULL
        stride[0] = view.strides[0] // sizeof(int64_t)
        return &view[0]

    def __dealloc__(self):
        free(self.sources)
        free(self.targets)


cdef int _check(Program program, Work work, const int64_t[:, ::1] groups) except -1:
    """Nothing may be read or written outside of the arrays, whatever was given."""
    if len(work.source_sizes) < program.sources or len(work.target_sizes) < program.targets:
        raise ValueError(
            f"the program reads {program.sources} sources and writes {program.targets} targets, received "
            f"{len(work.source_sizes)} and {len(work.target_sizes)}"
        )
    if groups is None:
        return 0
    if groups.shape[1] != LANES:
        raise ValueError(f"a group has {LANES} lanes, received {groups.shape[1]}")
    cdef Py_ssize_t k, l
    for k in range(groups.shape[0]):
        for l in range(groups.shape[1]):
            if groups[k, l] >= work.instruments:
                raise ValueError(f"there is no instrument {groups[k, l]}")
    return 0


def run(Program program, Work work, const int64_t[:, ::1] groups, str isa=None, double[::1] seconds=None):
    """Run the program on groups of LANES instruments; -1 stands for a lane that is not used.

    `isa` is one of `instruction_sets()`, None for the widest; `seconds`, one float64 for every step, grows by the CPU
    time of each.
    """
    _check(program, work, groups)
    cdef Py_ssize_t k
    if seconds is not None and seconds.shape[0] != program.code.steps:
        raise ValueError(f"seconds: received {seconds.shape[0]}, the program has {program.code.steps} steps")
    cdef Machine* machine = program.machine(isa)
    if seconds is not None and seconds.shape[0]:
        machine.seconds = &seconds[0]
    try:
        with nogil:
            for k in range(groups.shape[0]):
                machine.batch(work.job, &groups[k, 0])
    finally:
        del machine


cdef class Live:
    """A program that goes on, bar after bar, on groups of LANES instruments.

    `work` holds what there is so far, and wants no row of it.  From then on an instrument that was ever listed has
    every row: a bar that is missing is a row of NaN.
    """

    cdef Machine** machines
    cdef Py_ssize_t groups
    cdef Program program
    cdef Work work
    cdef object lanes

    def __cinit__(self, Program program, Work work, const int64_t[:, ::1] groups, str isa=None):
        cdef Py_ssize_t k
        _check(program, work, groups)
        self.program, self.work = program, work
        self.groups = groups.shape[0]
        self.machines = <Machine**> calloc(max(self.groups, 1), sizeof(Machine*))
        if self.machines == NULL:
            raise MemoryError
        for k in range(self.groups):
            self.machines[k] = program.machine(isa)
        with nogil:
            for k in range(self.groups):
                self.machines[k].open(work.job, &groups[k, 0])

    def more(self, Work work):
        """Go on with the rows that came since; `work` holds them alone, for the same instruments."""
        cdef Py_ssize_t k
        if work.instruments != self.work.instruments:
            raise ValueError(f"received {work.instruments} instruments, there were {self.work.instruments}")
        _check(self.program, work, None)
        self.work = work
        with nogil:
            for k in range(self.groups):
                self.machines[k].more(work.job)

    def __dealloc__(self):
        cdef Py_ssize_t k
        if self.machines != NULL:
            for k in range(self.groups):
                del self.machines[k]
            free(self.machines)
