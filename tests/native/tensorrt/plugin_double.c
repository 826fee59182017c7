/* A plug-in in C, against the table alone: it says of each frame what its first two bytes say. */
#include <stdlib.h>
#include <string.h>

#include "backends/tensorrt_abi.h"
#include "edgeosr.h"

enum { MOST = 64, AT_ONCE = 3 };

struct edgeosr_tensorrt_engine {
    int64_t label[MOST];
    float score[MOST], values[MOST * EDGEOSR_MOST_PARTS];
    uint8_t* room;
    size_t frame_bytes, waiting, done, parts;
};

/* Set by the test: the status that each call returns, and what was seen. */
int double_status[4]; /* open, begin, room, judge */
int double_open, double_runs, double_bgr, double_abi = EDGEOSR_TENSORRT_ABI, double_height = 20,
                                          double_width = 30, double_classes = 256;
char double_seen[4000], double_version[40] = EDGEOSR_VERSION;

static int32_t answer(int which, edgeosr_tensorrt_words* words) {
    if (double_status[which] != EDGEOSR_OK) strcpy(words->text, "the double was told to fail; do nothing");
    return double_status[which];
}

static int32_t open_engine(edgeosr_tensorrt_bundle const* bundle,
                           edgeosr_tensorrt_engine** out,
                           edgeosr_tensorrt_words* words) {
    *out = NULL;
    if (answer(0, words) != EDGEOSR_OK) return double_status[0];
    memcpy(double_seen, bundle->manifest, bundle->manifest_bytes < 3999 ? bundle->manifest_bytes : 3999);
    *out = calloc(1, sizeof **out);
    (*out)->parts = (size_t)bundle->parts;
    ++double_open;
    return EDGEOSR_OK;
}

static void frame_of(edgeosr_tensorrt_engine const* engine, int32_t* height_px, int32_t* width_px) {
    (void)engine;
    *height_px = double_height;
    *width_px = double_width;
}

static char const* library(edgeosr_tensorrt_engine const* engine) {
    (void)engine;
    return "a double (of nothing)";
}

static int32_t begin(edgeosr_tensorrt_engine* engine,
                     size_t count,
                     int32_t height_px,
                     int32_t width_px,
                     edgeosr_tensorrt_run* run,
                     edgeosr_tensorrt_words* words) {
    (void)count;
    if (answer(1, words) != EDGEOSR_OK) return double_status[1];
    ++double_runs;
    engine->frame_bytes = (size_t)height_px * (size_t)width_px * 3;
    engine->room = malloc(AT_ONCE * engine->frame_bytes);
    engine->done = 0;
    run->lane = engine;
    run->at_once = AT_ONCE;
    run->label = engine->label;
    run->score = engine->score;
    run->values = engine->values;
    return EDGEOSR_OK;
}

static int32_t room(edgeosr_tensorrt_engine* engine,
                    edgeosr_tensorrt_run* run,
                    size_t count,
                    uint8_t** frames,
                    edgeosr_tensorrt_words* words) {
    (void)run;
    engine->waiting = count;
    *frames = engine->room;
    return answer(2, words);
}

static int32_t judge(edgeosr_tensorrt_engine* engine,
                     edgeosr_tensorrt_run* run,
                     int32_t bgr,
                     edgeosr_tensorrt_words* words) {
    (void)run;
    double_bgr = bgr;
    for (size_t i = 0; i < engine->waiting; ++i, ++engine->done) {
        uint8_t const* pixels = engine->room + i * engine->frame_bytes;
        engine->label[engine->done] = pixels[0] % double_classes;
        engine->score[engine->done] = pixels[1];
        for (size_t part = 0; part < engine->parts; ++part)
            engine->values[engine->done * engine->parts + part] = (float)(i + 10 * part);
    }
    return answer(3, words);
}

static void end(edgeosr_tensorrt_engine* engine, edgeosr_tensorrt_run* run) {
    (void)run;
    free(engine->room);
    --double_runs;
}

static void close_engine(edgeosr_tensorrt_engine* engine) {
    free(engine);
    --double_open;
}

edgeosr_tensorrt_plugin const* edgeosr_tensorrt_open_plugin(uint32_t abi) {
    static edgeosr_tensorrt_plugin table = {EDGEOSR_TENSORRT_ABI,
                                            sizeof table,
                                            double_version,
                                            "nothing",
                                            open_engine,
                                            frame_of,
                                            library,
                                            begin,
                                            room,
                                            judge,
                                            end,
                                            close_engine};
    return abi == (uint32_t)double_abi ? &table : NULL;
}
