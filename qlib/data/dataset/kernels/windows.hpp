// Windows over rows that lie instrument after instrument, put side by side in one piece of memory.
//
//     data     rows of `width` bytes; the last one is what a date without a row shows
//     places   p >= 0      the window is the rows p ... p + steps - 1: no date is missing
//              p < 0       the window ends at row -1 - p, and some dates of it have no row
//
// Windows taken at random are far apart, so that reading them is waiting for memory.  One window alone is fetched with
// about a third of what memory can give, since each begins at a page that the processor does not know yet.  So while
// some windows are copied the next ones are asked for, a line of each in turn: their waiting times overlap.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace qlib_windows {

using Index = std::ptrdiff_t;
using Row = std::int64_t;
using Code = std::int32_t;

constexpr Index LINE = 64;           // bytes that memory hands over at once
constexpr Index PIECE = 2 * LINE;    // bytes that are copied between two requests
constexpr Index GROUP = 8;           // windows that are asked for in turn
constexpr Index AHEAD = 128 * 1024;  // bytes that may be asked for ahead: they must stay in the cache until copied

enum Fill { NONE = 0, FORWARD = 1, BOTH = 2 };

inline void ask_for(const char* where) {
#if defined(__GNUC__)
    __builtin_prefetch(where);
#else
    (void)where;
#endif
}

struct Table {
    const char* data;
    Index width;             // bytes of a row
    Index rows;              // rows that are someone's; data has one more
    const Code* date;        // of each row
    const Code* instrument;  // of each row
    Index steps;             // rows of a window

    const char* row(Index number) const { return data + number * width; }
    Index bytes() const { return steps * width; }
    // The first row that a window may need.
    Index first(Row place) const { return place >= 0 ? place : std::max<Index>(0, -place - steps); }
};

// The lines of some windows, asked for one of each in turn.
struct Coming {
    const char* at[GROUP];
    Index windows = 0, lines = 0, line = 0, turn = 0;

    void of(const Table& table, const Row* places, Index number) {
        windows = number;
        lines = number > 0 ? table.bytes() / LINE + 1 : 0;
        line = turn = 0;
        for (Index k = 0; k < number; ++k) {
            at[k] = table.row(table.first(places[k]));
            if (places[k] < 0) {
                ask_for(reinterpret_cast<const char*>(table.date - 1 - places[k]));
                ask_for(reinterpret_cast<const char*>(table.instrument - 1 - places[k]));
            }
        }
    }

    void ask(Index number) {
        for (; number > 0 && line < lines; --number) {
            ask_for(at[turn] + line * LINE);
            if (++turn == windows) {
                turn = 0;
                ++line;
            }
        }
    }
};

inline void copy(char* out, const char* from, Index bytes, Coming& coming) {
    Index done = 0;
    for (; done + PIECE <= bytes; done += PIECE) {
        coming.ask(PIECE / LINE);
        std::memcpy(out + done, from + done, PIECE);
    }
    std::memcpy(out + done, from + done, bytes - done);
}

// The window of the dates up to `back` after that of `row`, written from its end to its beginning.
inline void broken(const Table& table, Index row, Index back, Fill fill, char* out, Coming& coming) {
    const Index width = table.width, begin = table.date[row] + back - (table.steps - 1);
    const Code whose = table.instrument[row];
    const char *nothing = table.row(table.rows), *latest = nothing;
    Index open = table.steps;  // rows of the window before this one are still to be written
    const auto leave = [&](Index until, const char* shown) {
        while (open > until) copy(out + --open * width, shown, width, coming);
    };
    for (Index last = row; open > 0 && last >= 0 && table.instrument[last] == whose;) {
        const Index place = table.date[last] - begin;
        if (place < 0) break;
        if (place >= table.steps) {
            --last;
            continue;
        }
        Index first = last, at = place;  // a run of rows without a date between them is copied at once
        while (at > 0 && first > 0 && table.instrument[first - 1] == whose &&
               table.date[first - 1] + 1 == table.date[first]) {
            --first;
            --at;
        }
        leave(place + 1, fill == NONE ? nothing : table.row(last));
        copy(out + at * width, table.row(first), (last - first + 1) * width, coming);
        open = at;
        latest = table.row(first);
        last = first - 1;
    }
    leave(0, fill == BOTH ? latest : nothing);
}

inline void gather(const Table& table, const Row* places, Index windows, Index back, Fill fill, char* out) {
    const Index bytes = table.bytes();
    if (bytes == 0) return;
    const Index group = std::min(GROUP, AHEAD / bytes);  // of windows that are too large none is asked for
    const Index most = std::max<Index>(1, group);
    Coming coming;
    coming.of(table, places, std::min(group, windows));
    coming.ask(coming.windows * coming.lines);
    for (Index low = 0; low < windows; low += most) {
        const Index next = low + most, high = std::min(next, windows);
        coming.of(table, places + next, std::max<Index>(0, std::min(group, windows - next)));
        for (Index k = low; k < high; ++k) {
            if (places[k] >= 0)
                copy(out + k * bytes, table.row(places[k]), bytes, coming);
            else
                broken(table, -1 - places[k], back, fill, out + k * bytes, coming);
        }
    }
}

}  // namespace qlib_windows
