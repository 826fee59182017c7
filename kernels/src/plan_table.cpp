// The plan table for C++: kernels/plan_table.py once more (a test compares the two).
#include <edgeosr/fused_score.h>

#include "plan.h"

namespace edgeosr {
namespace {

constexpr PlanRow kPlanRows[] = {
#include "plan_table.inc"
    {}};  // the last is no row, for there may be none

bool within(long long value, int const (&range)[2]) {
    return value >= range[0] && value <= range[1];
}

bool holds_for(PlanRow const& row, PackedScorer const& scorer, ScoreInput const& input, int slabs) {
    long long const positions = static_cast<long long>(input.height) * input.width;  // 0 for z
    return row.architecture == input.architecture && row.multiprocessors == input.multiprocessors &&
           row.half == scorer.half && within(scorer.dimension, row.dimension) &&
           within(positions, row.positions) && within(input.batch, row.batch) && row.slabs == slabs;
}

bool fits(PlanRow const& row, PackedScorer const& scorer, ScoreInput const& input) {
    bool const few = scorer.half && scorer.classes <= kKeptClasses;
    return row.samples <= (scorer.half ? kTileMma : kTileFma) && row.samples < 2 * input.batch &&
           (few || row.class_warps == 0);
}

}  // namespace

PlanTable built_in_plans() {
    return {kPlanRows, static_cast<int>(sizeof kPlanRows / sizeof *kPlanRows) - 1};
}

PlanRow const* row_of(PlanTable const& table,
                      PackedScorer const& scorer,
                      ScoreInput const& input,
                      int slabs) {
    for (PlanRow const* row = table.rows; row != table.rows + table.size; ++row)
        if (holds_for(*row, scorer, input, slabs)) return fits(*row, scorer, input) ? row : nullptr;
    return nullptr;
}

}  // namespace edgeosr
