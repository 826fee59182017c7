// A plan for the doubles of launchers: clusters from sm_90 on. Included inside the namespace of the launcher.
PlanTable built_in_plans() {
    return {nullptr, 0};
}
char const* make_plan(
    PackedScorer const&, ScoreInput const& input, HostPlan* plan, PlanTable const&, bool clusters) {
    *plan = HostPlan{};
    plan->cluster = clusters && input.architecture >= 90 ? 8 : 1;
    plan->blocks = 16 * input.batch;
    plan->shared_bytes = plan->cluster > 1 ? 60000 : 50000;
    plan->params.batch = input.batch;
    plan->params.numbered = input.numbered;
    return nullptr;
}
