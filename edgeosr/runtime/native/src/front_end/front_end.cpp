#include "front_end.h"

#include <algorithm>
#include <cstring>

#include "axis.h"
#include "passes.h"
#include "rows.h"

namespace edgeosr {
namespace {

constexpr std::size_t kLine = 64;

std::size_t aligned(std::size_t bytes) {
    return (bytes + kLine - 1) / kLine * kLine;
}

}  // namespace

/// What is known once the frame's size is: weights, and where each thing lies in the scratch.
///
///     pointers   [row taps] to the rows that one output row is made of
///     wide       float [columns read, 3], or of the network's columns if those are resampled first
///     line       bytes of one row, for formats that are not interleaved, if columns come first
///     ring       bytes of the rows of one window: a row that is made is kept until its last use
struct FrontEnd::Tables {
    Preprocessing preprocessing;
    Axes axes;
    Bands rows;
    Bands columns;
    int begin = 0;  // first column that is read
    int count = 0;  // bytes read of a row: three a column
    bool rounds = false;
    Passes const* passes = nullptr;
    std::size_t row_bytes = 0;
    std::size_t wide_at = 0, line_at = 0, ring_at = 0, scratch = 0;

    Tables(Preprocessing const& given, int height_px, int width_px)
        : preprocessing(given),
          axes(axes_of(given, height_px, width_px)),
          rows(bands_of(axes.rows, height_px)),
          columns(bands_of(axes.columns, width_px)),
          begin(columns.begin()),
          count(3 * (columns.end() - begin)),
          rounds(given.resize_to_px > 0),
          passes(&passes_here()) {
        std::size_t const made = std::max(count, 3 * columns.length);
        row_bytes = aligned(made + kBehindRow);
        wide_at = aligned(sizeof(void*) * rows.taps);
        line_at = wide_at + aligned(sizeof(float) * (made + kBehindRow));
        ring_at = line_at + row_bytes;
        scratch = ring_at + row_bytes * rows.taps;
    }

    Planes planes_of(Frame const& frame, float* pixels) const;
    void fill_borders(Planes const& planes) const;
    void make_row(Frame const& frame, int row, unsigned char* scratch, std::uint8_t* made) const;
};

FrontEnd::FrontEnd(Preprocessing const& preprocessing, int frame_height_px, int frame_width_px)
    : tables_(std::make_unique<Tables>(preprocessing, frame_height_px, frame_width_px)) {}

FrontEnd::~FrontEnd() = default;
FrontEnd::FrontEnd(FrontEnd&&) noexcept = default;
FrontEnd& FrontEnd::operator=(FrontEnd&&) noexcept = default;

std::size_t FrontEnd::scratch_bytes() const noexcept {
    return tables_->scratch;
}

/// The passes keep the frame's channels in their order; only where each plane lies turns them round.
Planes FrontEnd::Tables::planes_of(Frame const& frame, float* pixels) const {
    std::size_t const area = static_cast<std::size_t>(preprocessing.height_px) * preprocessing.width_px;
    bool const frame_bgr = frame.format == PixelFormat::kBgr8;
    Planes out{};
    for (int channel = 0; channel < 3; ++channel) {
        int const rgb = frame_bgr ? 2 - channel : channel;
        double const mean = preprocessing.mean[rgb], std = preprocessing.std[rgb];
        out.scale[channel] = static_cast<float>(1 / (255 * std));
        out.shift[channel] = static_cast<float>(-mean / std);
        out.planes[channel] = pixels + area * (preprocessing.bgr ? 2 - rgb : rgb);
    }
    return out;
}

void FrontEnd::Tables::fill_borders(Planes const& planes) const {
    int const width = preprocessing.width_px, height = preprocessing.height_px;
    int const left = axes.columns.offset, right = left + axes.columns.length;
    int const top = axes.rows.offset, bottom = top + axes.rows.length;
    for (int channel = 0; channel < 3; ++channel) {
        float* const plane = planes.planes[channel];
        float const black = planes.shift[channel];
        auto const row = [=](int i) { return plane + static_cast<std::size_t>(i) * width; };
        std::fill(row(0), row(top), black);
        std::fill(row(bottom), row(height), black);
        for (int i = top; i < bottom && left + width - right > 0; ++i) {
            std::fill(row(i), row(i) + left, black);
            std::fill(row(i) + right, row(i + 1), black);
        }
    }
}

/// Make a row for the pass over the rows, where it does not lie in the frame as it is.
void FrontEnd::Tables::make_row(Frame const& frame,
                                int row,
                                unsigned char* scratch,
                                std::uint8_t* made) const {
    if (!rounds) return rgb_from_row(frame, row, begin, begin + count / 3, made);
    auto* const wide = reinterpret_cast<float*>(scratch + wide_at);
    std::uint8_t* const line = scratch + line_at;
    std::uint8_t const* bytes = line;
    if (is_interleaved(frame.format))
        bytes = frame.plane[0] + static_cast<std::size_t>(row) * frame.stride_bytes[0] + 3 * begin;
    else
        rgb_from_row(frame, row, begin, begin + count / 3, line);
    passes->widen(bytes, count, wide);
    passes->across_rounded(columns, begin, wide, made);
}

void FrontEnd::run(Frame const& frame, void* scratch, float* pixels) const noexcept {
    Tables const& tables = *tables_;
    auto* const room = static_cast<unsigned char*>(scratch);
    auto** const pointers = reinterpret_cast<std::uint8_t const**>(room);
    auto* const wide = reinterpret_cast<float*>(room + tables.wide_at);
    Planes const planes = tables.planes_of(frame, pixels);
    Bands const &rows = tables.rows, &columns = tables.columns;
    bool const as_it_is = is_interleaved(frame.format) && !tables.rounds;
    int next = rows.begin();  // the first row that is not made yet
    // Lanes that nobody uses read a little behind the row.
    std::memset(wide, 0, tables.line_at - tables.wide_at);
    tables.fill_borders(planes);
    for (int i = 0; i < rows.length; ++i) {
        int const first = rows.first[i];
        for (int k = 0; k < rows.taps; ++k) {
            int const row = first + k;
            std::uint8_t* const kept = room + tables.ring_at + tables.row_bytes * (row % rows.taps);
            if (as_it_is) {
                pointers[k] =
                    frame.plane[0] + static_cast<std::size_t>(row) * frame.stride_bytes[0] + 3 * tables.begin;
                continue;
            }
            pointers[k] = kept;
            if (row < next) continue;
            tables.make_row(frame, row, room, kept);
            next = row + 1;
        }
        float const* const weights = rows.weights.data() + static_cast<std::size_t>(i) * rows.taps;
        std::size_t const place =
            static_cast<std::size_t>(tables.axes.rows.offset + i) * tables.preprocessing.width_px +
            tables.axes.columns.offset;
        if (tables.rounds) {
            tables.passes->down(pointers, weights, rows.taps, 3 * columns.length, wide);
            tables.passes->rounded(wide, columns.length, planes, place);
        } else {
            tables.passes->down(pointers, weights, rows.taps, tables.count, wide);
            tables.passes->across(columns, tables.begin, wide, planes, place);
        }
    }
}

}  // namespace edgeosr
