#include "sharing.h"

#include <edgeosr/fused_score.h>

#include <algorithm>

namespace edgeosr {
namespace {

// As in kernels/sharing.py and plan_inputs.py, where each is explained.
constexpr int kMostPartialRows = 16 * 1536, kMostLayerSums = 6 * 1024, kPartsCost = 2, kClassWarps = 4,
              kClustersFrom = 90, kAloneBytes = 227 * 1024, kSharedBytes = 113 * 1024,
              kSmallBytes = 96 * 1024, kWideUntil = 110, kSmallFrom = 120, kMostLoneSteps = 16,
              kMostLonePieces = 32, kSmallChunk = 2048, kTurn = 8;

// Into how many parts along k a layer is cut, so that its warps have about as many steps each.
int parts_of_layer(int tiles, int steps, int warps, int most) {
    most = std::max(1, std::min(steps, most));
    int best = 1, least = 0;
    for (int parts = 1; parts <= most; ++parts) {
        int const longest = (tiles * parts + warps - 1) / warps * ((steps + parts - 1) / parts) +
                            (parts > 1 ? kPartsCost : 0);
        if (parts == 1 || longest < least) best = parts, least = longest;
    }
    return best;
}

// Hidden layers whose values the blocks of a cluster send one another: the last one they compute for
// themselves if that is little.
int mailed_layers_of(PackedScorer const& scorer) {
    int const last = scorer.layers - 2;
    if (last < 1) return std::max(last + 1, 0);
    int const tiles = rounded(scorer.width[last]) / 16, steps = rounded(scorer.width[last - 1]) / 16;
    bool const lone = tiles <= kMostLoneTiles && steps <= kMostLoneSteps && tiles * steps <= kMostLonePieces;
    return lone ? last : last + 1;
}

}  // namespace

int rounded(int size) {
    return (size + 15) / 16 * 16;
}

int slab_width_of(PackedScorer const& scorer, int cluster) {
    int const slabs =
        cluster > 1 ? cluster
                    : std::min<int>(kMaxSlabs, std::max(1, kMostPartialRows / std::max(scorer.rows, 1)));
    return std::min<int>(rounded((scorer.dimension + slabs - 1) / slabs), kMaxSlabWidth);
}

int slabs_of(PackedScorer const& scorer, int slab_width, int cluster) {
    return cluster > 1 ? cluster : (rounded(scorer.dimension) + slab_width - 1) / slab_width;
}

int samples_of_tile(int columns, int batch, int slabs, int multiprocessors, int cluster) {
    int samples = 1, spare = cluster > 1 ? cluster : 0;
    while (samples < std::min(columns, batch) &&
           (batch + samples - 1) / samples * slabs + spare > multiprocessors)
        samples *= 2, spare = 0;
    return samples;
}

int cluster_of(PackedScorer const& scorer, ScoreInput const& input) {
    return scorer.half && input.architecture >= kClustersFrom ? static_cast<int>(kMostCluster) : 1;
}

ClusterRoom cluster_room(int architecture, int blocks, int multiprocessors) {
    bool const alone = blocks + static_cast<int>(kMostCluster) <= multiprocessors;
    if (architecture >= kSmallFrom) return {kSmallBytes, kSmallBytes, alone};
    int const most = architecture < kWideUntil ? kAloneBytes : kSharedBytes;
    return {alone ? most : kSharedBytes, most, true};
}

int chunks_of(FusedScoreParams const& p) {
    return p.slab_width / kGroup * std::min(p.samples, std::max(p.batch, 1));
}

int chunks_at_once(int chunks, int chunk_bytes, int stage_bytes) {
    int const fit = stage_bytes / chunk_bytes;
    if (chunks <= fit) return chunks;
    int const half = fit / 2 / kTurn * kTurn;
    return half ? half : std::max(1, std::min(fit, kTurn));
}

int sharer_bits(FusedScoreParams const& p) {
    int const groups =
        p.chunk_bytes <= kSmallChunk && p.chunks_per_half >= kWarps / 2 ? kWarps : p.chunks_per_half;
    int bits = 0;
    while (2 << bits <= std::min<int>(groups, kWarps))
        ++bits;
    return bits;
}

void share_layers(PackedScorer const& scorer, FusedScoreParams* p, int room, PlanRow const* row) {
    bool const few = scorer.half && scorer.classes <= kKeptClasses && p->samples <= kClassWarps;
    p->class_warps = row ? row->class_warps : few ? kClassWarps : 0;
    p->mailed_layers = mailed_layers_of(scorer);
    for (int layer = 1; layer + 1 < scorer.layers; ++layer) {
        int const rows = rounded(scorer.width[layer]), inputs = rounded(scorer.width[layer - 1]);
        int const steps = inputs / (scorer.half ? 16 : 4);
        int pieces = rows, parts = 2 * rows <= kThreads ? std::min(kThreads / rows, steps) : 1;
        if (scorer.half) {
            bool const lone = p->cluster > 1 && layer >= p->mailed_layers;
            int const blocks = lone ? 1 : p->cluster;
            pieces = p->layer_tiles[layer] = (rows / 16 + blocks - 1) / blocks;
            p->layer_idle[layer] = blocks - (rows / 16 + pieces - 1) / pieces;
            int const most = std::min(kMostLayerSums, room) / sums_of_part(*p, layer);
            parts = lone ? 1 : parts_of_layer(pieces, steps, kWarps - kClassWarps, most);
        }
        int const share = (steps + parts - 1) / parts;
        p->layer_share[layer] = share;
        p->layer_parts[layer] = scorer.half ? (steps + share - 1) / share : parts;
        p->layer_inverse[layer] = (1 << 20) / pieces + 1;
        p->parts_inverse[layer] = (1 << 20) / p->layer_parts[layer] + 1;
    }
}

int sums_of_part(FusedScoreParams const& p, int layer) {
    int const rows = p.layer_tiles[layer] * 16;
    return kTileMma * (p.cluster == 1 ? rows : rows + 4);
}

}  // namespace edgeosr
