#include "plan.h"

#include <edgeosr/fused_score.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "sharing.h"

namespace edgeosr {
namespace {

// As in kernels/plan.py and plan_inputs.py, where each is explained.
constexpr int kStageBytes = 26 * 1024, kWideStageBytes = 52 * 1024, kLeastSpared = 4,
              kSumsFull = (512 + 16) * 4, kMostMultiprocessors = 4096;
constexpr long long kLargestElements = 2147483647LL;

thread_local char message[256];

[[gnu::format(printf, 1, 2)]] char const* refuse(char const* format, ...) {
    va_list words;
    va_start(words, format);
    std::vsnprintf(message, sizeof message, format, words);
    va_end(words);
    return message;
}

char const* outside(char const* what, long long value, long long least, long long most) {
    if (value >= least && value <= most) return nullptr;
    return refuse("%s must be from %lld to %lld for the fused kernel; got %lld", what, least, most, value);
}

char const* take_stride(char const* name, long long given, long long least, long long* stride) {
    if (given && given < least)
        return refuse("%s must be at least %lld elements; got %lld", name, least, given);
    *stride = given ? given : least;
    return nullptr;
}

char const* too_many(long long elements) {
    if (elements <= kLargestElements) return nullptr;
    return refuse("an input must have fewer than 2^31 elements; got %lld; score it in smaller batches",
                  elements);
}

char const* fill_map(PackedScorer const& scorer, ScoreInput const& input, FusedScoreParams* p) {
    int const dimension = scorer.dimension, element = input.half ? 2 : 4;
    if (char const* error = outside("the map's height", input.height, 1, kMaxPositions)) return error;
    if (char const* error = outside("the map's width", input.width, 1, kMaxPositions)) return error;
    int const positions = input.height * input.width;
    if (char const* error = outside("the map's positions", positions, 1, kMaxPositions)) return error;
    int const step = input.position_stride ? input.position_stride : dimension;
    if (step < dimension)
        return refuse("position_stride must be at least D = %d; got %d", dimension, input.position_stride);
    long long const least = static_cast<long long>(positions) * (input.channels_last ? step : dimension);
    p->height = input.height;
    p->width_of_map = input.width;
    p->positions = positions;
    p->words = (positions + 63) / 64 * 2;
    p->width_inverse = 65536 / input.width + 1;
    p->position_share = static_cast<float>(1.0 / positions);
    p->layout = input.channels_last ? kLayoutChannelsLast : kLayoutChannelsFirst;
    p->position_stride = step;
    if (char const* error = take_stride("sample_stride", input.sample_stride, least, &p->sample_stride))
        return error;
    if (char const* error = too_many(p->sample_stride * p->batch)) return error;
    int const remainder = input.half ? 4 : 2;
    p->row_pitch = input.channels_last ? positions + ((remainder - positions) % 8 + 8) % 8 : positions;
    p->chunk_bytes = rounded(kGroup * p->row_pitch * element) + (input.channels_last ? 0 : 16);
    p->chunks_per_half = chunks_at_once(chunks_of(*p), p->chunk_bytes, kStageBytes);
    return nullptr;
}

char const* fill_tangents(PackedScorer const& scorer, ScoreInput const& input, FusedScoreParams* p) {
    int const dimension = scorer.dimension;
    if (input.probes != scorer.probes)
        return refuse("the scorer has K = %d probes; got %d tangents", scorer.probes, input.probes);
    p->probes = input.probes;
    if (char const* error = take_stride("sample_stride", input.sample_stride, dimension, &p->sample_stride))
        return error;
    if (char const* error = take_stride(
            "tangent_sample_stride", input.tangent_sample_stride, dimension, &p->tangent_sample_stride))
        return error;
    long long const least =
        input.probe_stride == 0 ? std::max(p->batch, 1) * p->tangent_sample_stride : dimension;
    if (char const* error = take_stride("probe_stride", input.probe_stride, least, &p->probe_stride))
        return error;
    if (char const* error = too_many(p->sample_stride * p->batch)) return error;
    if (char const* error = too_many(p->tangent_sample_stride * p->batch * std::max(p->probes, 1)))
        return error;
    return too_many(p->probe_stride * p->probes);
}

int place_phase_a(PackedScorer const& scorer, ScoreInput const& input, FusedScoreParams* p, int tile) {
    int at = kStageAt;
    int const positions = p->positions;
    if (scorer.closed_form) {
        at += (p->chunks_per_half == chunks_of(*p) ? 1 : 2) * p->chunks_per_half * p->chunk_bytes;
        p->sharer_bits = sharer_bits(*p);
        p->slopes_at = at;
        at += scorer.smooth && input.half ? kWarps * positions * 4 : 0;
        p->masks_at = at;
        at += (positions < 32 || positions > 64) && !scorer.smooth ? kWarps * (2 * p->words + 1) * 32 : 0;
        p->inside_at = at;
        at += (p->words == 2 ? 4 : p->words + 1) * ((scorer.taps + 3) / 4 * 4) * 4;
    }
    p->halves_at = kStageAt;
    p->z_at = std::max(at, kStageAt + (scorer.half ? 2 * kTileMma * (p->slab_width + 8) * 2 : 0));
    return p->z_at + (scorer.closed_form ? 2 : 1) * tile * p->z_pitch * 4;
}

// Hidden values and the last layer's weights, first in phase B; returns where the sums may begin.
int place_hidden(PackedScorer const& scorer, FusedScoreParams* p, int tile) {
    int hidden[2] = {0, 0};
    for (int layer = 0; layer + 1 < scorer.layers; ++layer) {
        int const width = rounded(scorer.width[layer]);
        int const size = tile * (scorer.half ? 2 * (width + 8) : 4 * (width | 16));
        hidden[layer % 2] = std::max(hidden[layer % 2], size);
    }
    p->odd_at = kEvenAt + hidden[0];
    p->last_at = p->odd_at + hidden[1];
    p->sums_at = p->last_at + (scorer.layers > 1 ? 4 * rounded(scorer.width[scorer.layers - 2]) : 0);
    return p->sums_at;
}

// What a block of a cluster has of the scorer, behind both phases; returns the end.
int place_own(PackedScorer const& scorer, ClusterRoom const& room, FusedScoreParams* p, int at) {
    p->own_at = at = rounded(at);
    at += static_cast<int>(sizeof(ScorerConstants));
    if (scorer.layers > 1) {
        p->last_at = at;
        at += 4 * rounded(scorer.width[scorer.layers - 2]);
    }
    for (int layer = 1; layer + 1 < scorer.layers; ++layer) {
        p->own_bias_at[layer] = at;
        at += 64 * p->layer_tiles[layer];
    }
    p->mailboxes_at = at;
    at += kMailboxBytes;
    int end = at;
    for (int layer = 1; layer + 1 < scorer.layers; ++layer) {
        p->own_layer_at[layer] = end;
        end += 512 * p->layer_tiles[layer] * (rounded(scorer.width[layer - 1]) / 16);
    }
    p->keeps_layers = scorer.layers > 2 && end <= room.bytes ? 1 : 0;
    p->columns_at = at = p->keeps_layers ? end : at;
    int const step = scorer.rows * 32;
    if (step && room.columns)
        p->kept_steps = std::min(p->slab_width / 16, std::max(0, room.bytes - at) / step);
    return at + p->kept_steps * step;
}

int phase_b_bytes(PackedScorer const& scorer, FusedScoreParams const& p) {
    int sums = scorer.layers > 2 && !scorer.half ? kSumsFull : 0;
    for (int layer = 1; scorer.half && layer + 1 < scorer.layers; ++layer)
        if (p.layer_parts[layer] > 1) sums = std::max(sums, p.layer_parts[layer] * sums_of_part(p, layer));
    return p.sums_at + 4 * sums;
}

// Stage more of the map at once where that is worth the room that hidden layers lose.
void widen_stage(PackedScorer const& scorer,
                 ScoreInput const& input,
                 ClusterRoom const& room,
                 FusedScoreParams* p) {
    int const narrow = p->chunks_per_half, chunks = chunks_of(*p);
    p->chunks_per_half = chunks_at_once(chunks, p->chunk_bytes, kWideStageBytes);
    int const phase_a = place_phase_a(scorer, input, p, kTileMma);
    place_own(scorer, room, p, std::max(phase_a, phase_b_bytes(scorer, *p)));
    int const spared =
        (chunks + narrow - 1) / narrow - (chunks + p->chunks_per_half - 1) / p->chunks_per_half;
    bool const kept = p->keeps_layers || scorer.layers < 3;
    if (phase_a > kMostSharedBytes || spared < (kept ? 1 : kLeastSpared)) p->chunks_per_half = narrow;
}

void fill_scorer(PackedScorer const& scorer, FusedScoreParams* p) {
    p->split_at = scorer.split_at;
    p->split_bias_at = scorer.split_bias_at;
    p->later_at = scorer.later_at;
    p->later_bytes = scorer.later_bytes;
    p->table_at = scorer.table_at;
    p->offsets_at = scorer.offsets_at;
    p->rows = scorer.rows;
    p->hidden_rows = scorer.hidden_rows;
    p->dimension = scorer.dimension;
    p->classes = scorer.classes;
    p->head = scorer.head;
    p->activation = scorer.activation;
    p->taps = scorer.taps;
    p->parts = scorer.parts;
    for (int part = 0; part < scorer.parts; ++part)
        p->part[part] = {scorer.part[part].code,
                         scorer.part[part].row,
                         scorer.part[part].rows,
                         scorer.part[part].numbers_at};
    p->layers = scorer.layers;
    for (int layer = 0; layer < scorer.layers; ++layer) {
        p->width[layer] = scorer.width[layer];
        p->layer_at[layer] = scorer.layer_at[layer];
        p->bias_at[layer] = scorer.bias_at[layer];
    }
}

// The plan of one launch whose input was checked; row: what its tiles are taken from, null: from the rule.
char const* plan_with(PlanRow const* row,
                      PackedScorer const& scorer,
                      ScoreInput const& input,
                      int slab_width,
                      int cluster,
                      HostPlan* plan) {
    *plan = HostPlan{};
    FusedScoreParams& p = plan->params;
    p.batch = input.batch;
    fill_scorer(scorer, &p);
    if (char const* error =
            take_stride("logits_stride", input.logits_stride, scorer.classes, &p.logits_stride))
        return error;
    p.logits_half = input.logits_half ? 1 : 0;
    p.numbered = input.numbered ? 1 : 0;
    int const most = scorer.half ? kTileMma : kTileFma;
    p.slab_width = slab_width;
    p.cluster = plan->cluster = cluster;
    p.slabs = slabs_of(scorer, slab_width, cluster);
    p.samples =
        row ? row->samples : samples_of_tile(most, input.batch, p.slabs, input.multiprocessors, cluster);
    p.hidden_quads = (scorer.hidden_rows / 4 + p.cluster - 1) / p.cluster;
    share_layers(scorer, &p, (kMostSharedBytes - place_hidden(scorer, &p, most)) / 4, row);
    p.z_pitch = scorer.closed_form || input.half ? p.slab_width + 4 : p.slab_width | 16;
    if (char const* error =
            scorer.closed_form ? fill_map(scorer, input, &p) : fill_tangents(scorer, input, &p))
        return error;
    p.stats = 2 + 2 * p.probes;
    int const tile = p.samples, tiles = (input.batch + tile - 1) / tile;
    p.slabs_inverse = (1 << 20) / p.slabs + 1;
    p.samples_inverse = 65536 / tile + 1;
    p.last_inverse = 65536 / ((input.batch + tile - 1) % tile + 1) + 1;
    // As if tiles were of one sample, or full, in clusters or not: so that a workspace for a batch serves
    // whatever the plan.
    int const alone = slabs_of(scorer, slab_width_of(scorer, 1), 1);
    int const slabs = scorer.half ? std::max<int>(alone, kMostCluster) : alone;
    unsigned long long const columns =
        static_cast<unsigned long long>((input.batch + most - 1) / most * most) * slabs;
    p.stats_at = static_cast<unsigned long long>(rounded(4 * input.batch));
    p.partials_at = p.stats_at + (4 * columns * p.stats + 15) / 16 * 16;
    ClusterRoom const room = cluster_room(input.architecture, tiles * cluster, input.multiprocessors);
    if (cluster > 1 && scorer.closed_form && tile == kTileMma) widen_stage(scorer, input, room, &p);
    int phase_a = place_phase_a(scorer, input, &p, most);
    while (phase_a > kMostSharedBytes && p.chunks_per_half > 1) {
        p.chunks_per_half /= 2;
        phase_a = place_phase_a(scorer, input, &p, most);
    }
    int shared = std::max(phase_a, phase_b_bytes(scorer, p));
    if (shared > kMostSharedBytes)
        return refuse(
            "the fused kernel would need %d bytes of shared memory a block, the limit is %d; score with "
            "model.onnx",
            shared,
            kMostSharedBytes);
    if (cluster > 1) {
        shared = place_own(scorer, room, &p, shared);
        plan->most_shared = std::max(shared, room.most);
    }
    int const how =
        cluster > 1 ? 8 + (scorer.closed_form ? 0 : 2) : (scorer.closed_form ? 0 : 4) + (scorer.half ? 0 : 2);
    plan->entry = how + (input.half ? 0 : 1);
    plan->blocks = tiles * p.slabs;
    plan->tile = tile;
    plan->shared_bytes = static_cast<std::size_t>(shared);
    plan->workspace_bytes = p.partials_at + 4 * columns * scorer.rows;
    plan->counter_bytes = p.stats_at;
    plan->origin = row ? row->origin : "rule";
    return nullptr;
}

}  // namespace

char const* make_plan(PackedScorer const& scorer,
                      ScoreInput const& input,
                      HostPlan* plan,
                      PlanTable const& table,
                      bool clusters) {
    if (char const* error = outside("the batch", input.batch, 0, kMaxBatch)) return error;
    if (char const* error = outside("multiprocessors", input.multiprocessors, 0, kMostMultiprocessors))
        return error;
    if (scorer.closed_form && input.height == 0 && input.width == 0)
        return refuse("the scorer has a closed form; the fused kernel needs the map, not z");
    if (!scorer.closed_form && (input.height || input.width))
        return refuse("the scorer has no closed form; the fused kernel takes z (and tangents), not the map");
    int const cluster = clusters ? cluster_of(scorer, input) : 1, width = slab_width_of(scorer, cluster);
    PlanRow const* const row = row_of(table, scorer, input, slabs_of(scorer, width, cluster));
    if (row && !plan_with(row, scorer, input, width, cluster, plan)) return nullptr;
    return plan_with(nullptr, scorer, input, width, cluster, plan);
}

char const* plan_fused_score(PackedScorer const& scorer, ScoreInput const& input, ScorePlan* plan) {
    HostPlan made;
    char const* const error = make_plan(scorer, input, &made);
    if (!error)
        *plan = {made.blocks,
                 kThreads,
                 made.tile,
                 made.shared_bytes,
                 made.workspace_bytes,
                 made.counter_bytes,
                 made.origin};
    return error;
}

static_assert(sizeof(Verdict) == sizeof(FusedVerdict) && alignof(Verdict) == alignof(FusedVerdict));
static_assert(offsetof(Verdict, flags) == offsetof(FusedVerdict, flags));
static_assert(offsetof(Verdict, score) == offsetof(FusedVerdict, score));
static_assert(offsetof(Verdict, layout) == offsetof(FusedVerdict, layout));
static_assert(offsetof(Verdict, value) == offsetof(FusedVerdict, value));
static_assert(kVerdictVersion == kVerdictLayout && kMostParts == kMaxParts);

}  // namespace edgeosr
