/* What libedgeosr and its plug-in for TensorRT, libedgeosr_tensorrt.so, say to each other: C99, structures of
   numbers and pointers, no C++ and nothing thrown across. Internal, and not installed: both come of one
   version of edgeosr, which `abi` and `version` hold them to.

   Every function that can fail returns an edgeosr_status and, where it is not EDGEOSR_OK, fills `words` with
   what is wrong, why, and what to do. Texts are UTF-8, end with a zero, and live as long as what gave them.
 */
#ifndef EDGEOSR_TENSORRT_ABI_H
#define EDGEOSR_TENSORRT_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Another one with each change of anything below. */
#define EDGEOSR_TENSORRT_ABI 2u
/* The plug-in's only function, an edgeosr_tensorrt_plugin_function. */
#define EDGEOSR_TENSORRT_ENTRY "edgeosr_tensorrt_open_plugin"

typedef struct edgeosr_tensorrt_words {
    char text[2048];
} edgeosr_tensorrt_words;

/* What an engine is opened with; read during the call alone. */
typedef struct edgeosr_tensorrt_bundle {
    char const* path;              /* of the bundle */
    char const* library;           /* libnvinfer's file; "": search */
    void const *manifest, *scorer; /* manifest.json and scorer.npz, which were found good */
    size_t manifest_bytes, scorer_bytes;
    int32_t ending; /* 0: the backbone gives map; 1: embedding and tangents; 2: embedding */
    int32_t logits; /* it gives logits too, float32 */
    int32_t half;   /* the others are float16, else float32 */
    int32_t parts;  /* of the score */
} edgeosr_tensorrt_bundle;

typedef struct edgeosr_tensorrt_engine edgeosr_tensorrt_engine;

/* One call's share of an engine, from begin to end; on one thread. */
typedef struct edgeosr_tensorrt_run {
    void* lane;
    size_t at_once;       /* frames of one judge, at most */
    int64_t const* label; /* [count], of frames that are judged */
    float const* score;   /* [count] */
    float const* values;  /* [count, parts] */
} edgeosr_tensorrt_run;

typedef struct edgeosr_tensorrt_plugin {
    uint32_t abi;         /* EDGEOSR_TENSORRT_ABI */
    uint32_t table_bytes; /* of this structure */
    char const* version;  /* EDGEOSR_VERSION: of another one's plug-in the meaning may be another */
    char const* made_for; /* the headers it was compiled against, such as "TensorRT 10.3.0" */

    /* Find the newest engine of the bundle that can run here, hold it against the manifest, load it, the
       fused kernel and the scorer's weights. `out`: null on failure. */
    int32_t (*open)(edgeosr_tensorrt_bundle const* bundle,
                    edgeosr_tensorrt_engine** out,
                    edgeosr_tensorrt_words* words);
    /* Height and width of the frames that it was built for. */
    void (*frame)(edgeosr_tensorrt_engine const* engine, int32_t* height_px, int32_t* width_px);
    /* What runs: TensorRT's file and version, the GPU, the kernel's build. */
    char const* (*library)(edgeosr_tensorrt_engine const* engine);
    /* Take a share for `count` frames of one size, waiting for one if all are taken. After EDGEOSR_OK the
       caller must end it. */
    int32_t (*begin)(edgeosr_tensorrt_engine* engine,
                     size_t count,
                     int32_t height_px,
                     int32_t width_px,
                     edgeosr_tensorrt_run* run,
                     edgeosr_tensorrt_words* words);
    /* Where the next `count` frames go, at_once at most: uint8 [count, height, width, 3] without gaps. */
    int32_t (*room)(edgeosr_tensorrt_engine* engine,
                    edgeosr_tensorrt_run* run,
                    size_t count,
                    uint8_t** frames,
                    edgeosr_tensorrt_words* words);
    /* Judge what was put there; their rows go behind those that are there. bgr: channels come blue first. */
    int32_t (*judge)(edgeosr_tensorrt_engine* engine,
                     edgeosr_tensorrt_run* run,
                     int32_t bgr,
                     edgeosr_tensorrt_words* words);
    void (*end)(edgeosr_tensorrt_engine* engine, edgeosr_tensorrt_run* run);
    /* No call may be under way. */
    void (*close)(edgeosr_tensorrt_engine* engine);
} edgeosr_tensorrt_plugin;

/* Return the table, which is never freed; null for another abi than the plug-in's. */
typedef edgeosr_tensorrt_plugin const* edgeosr_tensorrt_plugin_function(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
