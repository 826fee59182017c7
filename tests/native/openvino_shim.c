// OpenVINO, whose runs wait and then fail while it is told to, and which makes no network while it is told
// to; made by openvino_shim.py.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>
enum { GENUINE, WAITING, FAILING, NO_MEMORY };
static atomic_int mode, inside, refusing, refused;
void shim_set(int to) {
    mode = to;
}
int shim_inside(void) {
    return inside;
}
void shim_refuse(int to) {
    refusing = to;
}
int shim_refused(void) {
    return refused;
}
int ov_infer_request_infer(void* request) {
    int (*genuine)(void*) = (int (*)(void*))dlsym(RTLD_NEXT, "ov_infer_request_infer");
    ++inside;
    while (mode == WAITING)
        usleep(1000);
    return mode >= FAILING ? -1 : genuine(request);
}
static char const out_of_memory[] = "Exception from src/core: std::bad_alloc";
char const* ov_get_last_err_msg(void) {
    char const* (*genuine)(void) = (char const* (*)(void))dlsym(RTLD_NEXT, "ov_get_last_err_msg");
    return mode == NO_MEMORY ? out_of_memory : genuine();
}
void ov_free(char const* text) {
    void (*genuine)(char const*) = (void (*)(char const*))dlsym(RTLD_NEXT, "ov_free");
    if (text != out_of_memory) genuine(text);
}
int ov_compiled_model_create_infer_request(void const* compiled, void** made) {
    int (*genuine)(void const*, void**) =
        (int (*)(void const*, void**))dlsym(RTLD_NEXT, "ov_compiled_model_create_infer_request");
    if (refusing) ++refused;
    return mode >= FAILING || refusing ? -1 : genuine(compiled, made);
}
