/* Any source that GStreamer opens (a camera, RTSP, a file): judge its newest frame, print each verdict.
 *
 *   camera_gstreamer [--loop] BUNDLE.edgeosr SOURCE [FRAMES]
 *   camera_gstreamer cats.edgeosr "rtspsrc location=rtsp://camera/stream latency=50 ! decodebin"
 *   camera_gstreamer cats.edgeosr "v4l2src ! decodebin"
 *   camera_gstreamer cats.edgeosr "filesrc location=clip.mp4 ! decodebin"
 *
 * Of a live source the sink keeps one frame and drops the older one, so a slow network never falls behind. It
 * is opened again when it fails, ends, or gives no frame for five seconds: cameras restart, and networks
 * fail. Of a file each frame is judged, once, and the program ends; --loop begins it again. A file is what
 * can be sought or has a length; all else is live. A source that is not live by itself (HTTP, TCP) and gives
 * no frame at first ends the program with 1, and so does, at its end, any frame that could not be judged. */
#include <edgeosr.h>
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char const SINK[] =
    "%s ! videoconvert ! video/x-raw,format=NV12 ! appsink name=sink max-buffers=1 sync=false";

static GstClockTime const PATIENCE = 5 * GST_SECOND;

enum ending { ENOUGH, ENDED, EMPTY, SILENT, FAILED, NOT_OPENED };

/* Judge one sample; return whether it was judged. The strides are the decoder's own. */
static int judge(edgeosr_runtime* runtime, GstSample* sample) {
    GstVideoInfo info;
    GstVideoFrame picture;
    edgeosr_verdict said;
    edgeosr_status status;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        !gst_video_frame_map(&picture, &info, gst_sample_get_buffer(sample), GST_MAP_READ))
        return 0;
    edgeosr_frame frame = {sizeof frame,
                           EDGEOSR_NV12,
                           GST_VIDEO_FRAME_HEIGHT(&picture),
                           GST_VIDEO_FRAME_WIDTH(&picture),
                           {GST_VIDEO_FRAME_PLANE_DATA(&picture, 0), GST_VIDEO_FRAME_PLANE_DATA(&picture, 1)},
                           {(size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&picture, 0),
                            (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&picture, 1)}};
    status = edgeosr_judge(runtime, &frame, 1, &said, sizeof said);
    gst_video_frame_unmap(&picture);
    if (status != EDGEOSR_OK) {
        fprintf(stderr, "%s\n", edgeosr_last_error());
        return 0;
    }
    printf("%s %.3f %.2f ms\n", said.label, said.score, (double)said.latency_ns / 1e6);
    fflush(stdout);
    return 1;
}

/* Print what a pipeline says of its failure; return whether there was one. */
static int told_failure(GstElement* pipeline) {
    GError* error = NULL;
    GstBus* bus = gst_element_get_bus(pipeline);
    GstMessage* message = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
    gst_object_unref(bus);
    if (message == NULL) return 0;
    gst_message_parse_error(message, &error, NULL);
    fprintf(stderr, "%s: %s\n", GST_OBJECT_NAME(GST_MESSAGE_SRC(message)), error->message);
    g_error_free(error);
    gst_message_unref(message);
    return 1;
}

/* Whether a source that has given a frame is a file. Cameras have no length, by whatever protocol they come.
 */
static int is_file(GstElement* pipeline) {
    GstFormat const formats[] = {GST_FORMAT_TIME, GST_FORMAT_BYTES}; /* a single picture has bytes alone */
    gboolean found = FALSE;
    gint64 length = 0;
    for (size_t i = 0; i < 2 && !found; ++i) {
        GstQuery* query = gst_query_new_seeking(formats[i]);
        if (gst_element_query(pipeline, query)) gst_query_parse_seeking(query, NULL, &found, NULL, NULL);
        gst_query_unref(query);
        if (gst_element_query_duration(pipeline, formats[i], &length) && length > 0) found = TRUE;
    }
    return found;
}

/* Start it, and tell whether a frame came, or will; a source that is not live by itself has one before it
 * plays. */
static int started(GstElement* pipeline, GstAppSink* sink, int* live) {
    GstStateChangeReturn const changed = gst_element_set_state(pipeline, GST_STATE_PAUSED);
    if (changed == GST_STATE_CHANGE_FAILURE) return 0;
    if (changed == GST_STATE_CHANGE_NO_PREROLL) {
        *live = 1;
    } else {
        GstSample* sample = gst_app_sink_try_pull_preroll(sink, PATIENCE);
        if (sample == NULL) return 0;
        gst_sample_unref(sample);
        if (!is_file(pipeline)) *live = 1;
    }
    gst_app_sink_set_drop(sink, *live);
    return gst_element_set_state(pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE;
}

/* Judge what comes until the source ends, fails or falls silent, or `left` frames were judged; below 0:
 * without end. */
static enum ending run(edgeosr_runtime* runtime, char const* source, long* left, int* live, int* failed) {
    enum ending ending = ENOUGH;
    GError* error = NULL;
    char* text = g_strdup_printf(SINK, source);
    GstElement* pipeline = gst_parse_launch(text, &error);
    g_free(text);
    if (error != NULL) {
        fprintf(stderr, "%s\n", error->message);
        g_error_free(error);
        if (pipeline != NULL) gst_object_unref(pipeline);
        return NOT_OPENED;
    }
    GstElement* sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    int goes = started(pipeline, GST_APP_SINK(sink), live);
    while (*left != 0) {
        GstSample* sample = goes ? gst_app_sink_try_pull_sample(GST_APP_SINK(sink), PATIENCE) : NULL;
        if (sample == NULL) {
            ending = gst_app_sink_is_eos(GST_APP_SINK(sink)) ? (goes ? ENDED : EMPTY) : SILENT;
            if (told_failure(pipeline)) ending = FAILED;
            break;
        }
        if (!judge(runtime, sample))
            *failed = 1;
        else if (*left > 0)
            --*left;
        gst_sample_unref(sample);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    return ending;
}

int main(int argc, char** argv) {
    edgeosr_runtime* runtime = NULL;
    int live = 0, failed = 0, loop = argc > 1 && strcmp(argv[1], "--loop") == 0;
    char** given = argv + loop;
    long left = -1;
    enum ending ending;
    gst_init(NULL, NULL);
    if (argc - loop < 3 || argc - loop > 4 || (argc - loop == 4 && (left = atol(given[3])) < 1)) {
        fprintf(stderr, "camera_gstreamer [--loop] BUNDLE.edgeosr SOURCE [FRAMES]\n");
        return 2;
    }
    if (edgeosr_open(given[1], NULL, &runtime) != EDGEOSR_OK) {
        fprintf(stderr, "%s\n", edgeosr_last_error());
        return 1;
    }
    while ((ending = run(runtime, given[2], &left, &live, &failed)) != ENOUGH && ending != NOT_OPENED) {
        if (ending == EMPTY) fprintf(stderr, "the source ended before its first frame\n");
        if (ending == SILENT) fprintf(stderr, "no frame for five seconds\n");
        if (!live && !(loop && ending == ENDED)) break;
        fprintf(stderr, "opening the source again\n");
        g_usleep(500000);
    }
    edgeosr_close(runtime);
    return !failed && (ending == ENOUGH || ending == ENDED) ? 0 : 1;
}
