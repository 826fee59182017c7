// A packed scorer's file, as kernels/packed_file.py writes it: found good before a launch reads any of it.
#include <edgeosr/fused_score.h>

#include <cstring>
#include <initializer_list>

#include "params.cuh"

namespace edgeosr {
namespace {

constexpr char kMagic[8] = {'E', 'D', 'G', 'E', 'O', 'S', 'R', '3'};
constexpr std::size_t kHeaderBytes = 512;  // magic, PackedScorer, zeros

int rounded(int size) {
    return (size + 15) / 16 * 16;
}

bool within(long long value, long long least, long long most) {
    return value >= least && value <= most;
}

// Sizes of a file's header: within the limits, and of one another.
bool sizes_good(PackedScorer const& s) {
    for (std::int32_t flag : {s.half, s.closed_form, s.smooth})
        if (!within(flag, 0, 1)) return false;
    if (!within(s.dimension, 1, kMaxDimension) || !within(s.classes, 1, kMaxClasses) ||
        !within(s.head, kHeadCosine, kHeadExternal) || !within(s.taps, 1, kMaxTaps) ||
        !within(s.activation, kIdentity, kGeluTanh) || !within(s.layers, 0, kMaxLayers) ||
        !within(s.parts, 1, kMaxParts) || !within(s.probes, 0, s.closed_form ? 0 : kMaxProbes))
        return false;
    for (int layer = 0; layer < s.layers; ++layer)
        if (!within(s.width[layer], 1, layer == s.layers - 1 ? 1 : kMaxWidth)) return false;
    int const head_rows = s.head == kHeadExternal ? 0 : rounded(s.classes);
    if (s.hidden_rows != (s.layers ? rounded(s.width[0]) : 0) || s.rows % 16 != 0 ||
        !within(s.rows, s.hidden_rows + head_rows, kMaxWidth + kMaxClasses + kMaxParts * kMaxPartRows))
        return false;
    for (int part = 0; part < s.parts; ++part) {
        auto const& [code, row, rows, numbers_at] = s.part[part];
        if (!within(rows, 0, kMaxPartRows) || !within(row, 0, s.rows - rows)) return false;
    }
    return true;
}

// Every piece that a launch reads lies inside the data, from its first byte to its last.
bool pieces_good(PackedScorer const& s) {
    auto const inside = [&s](std::uint32_t at, unsigned long long bytes) {
        return at % 16 == 0 && at <= s.data_bytes && bytes <= s.data_bytes - at;
    };
    auto const matrix_bytes = [&s](int outputs, int inputs) {
        return static_cast<unsigned long long>(rounded(outputs)) * rounded(inputs) * (s.half ? 2 : 4);
    };
    bool good = inside(0, sizeof(ScorerConstants)) && inside(s.later_at, s.later_bytes) &&
                inside(s.split_at, matrix_bytes(s.rows, s.dimension)) &&
                inside(s.split_bias_at, 4ULL * s.rows);
    for (int layer = 1; good && layer < s.layers; ++layer)
        good = layer == s.layers - 1
                   ? inside(s.layer_at[layer], 4ULL * s.width[layer - 1])
                   : inside(s.layer_at[layer], matrix_bytes(s.width[layer], s.width[layer - 1])) &&
                         inside(s.bias_at[layer], 4ULL * rounded(s.width[layer]));
    if (s.closed_form)
        good = good && inside(s.table_at, 4ULL * s.dimension * s.taps) && inside(s.offsets_at, 8ULL * s.taps);
    // How many numbers a part has, its function knows and the file does not: there is one at least.
    for (int part = 0; part < s.parts; ++part)
        good = good && inside(s.part[part].numbers_at, s.part[part].numbers_at ? 4 : 0);
    return good;
}

}  // namespace

std::size_t read_packed_scorer(void const* file, std::size_t bytes, PackedScorer* scorer) {
    if (bytes < kHeaderBytes || std::memcmp(file, kMagic, sizeof kMagic) != 0) return 0;
    PackedScorer found;
    std::memcpy(&found, static_cast<char const*>(file) + sizeof kMagic, sizeof found);
    if (found.data_bytes != bytes - kHeaderBytes || !sizes_good(found) || !pieces_good(found)) return 0;
    *scorer = found;
    return kHeaderBytes;
}

static_assert(sizeof(PackedScorer) + sizeof kMagic <= kHeaderBytes);

}  // namespace edgeosr
