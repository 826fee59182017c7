// The few functions of OpenVINO's C API that are called, found by their names in a library that is opened.
//
// These declarations are our own, of what its documentation says (docs.openvino.ai, "OpenVINO C API"). No
// enum is used whose numbers changed between its versions; a test calls every function in a genuine library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgeosr::ov {

struct Core;
struct Model;
struct Compiled;
struct Request;
struct Tensor;

constexpr int kOk = 0;  // of ov_status_e

struct Dimension {
    std::int64_t least, most;
};
struct PartialShape {
    Dimension rank;
    Dimension* dims;
};
struct Shape {
    std::int64_t rank;
    std::int64_t* dims;
};
struct Version {
    char const *number, *description;
};

/// Functions that return an int return kOk on success.
struct Api {
    int (*version)(Version*);
    void (*free_version)(Version*);
    char const* (*last_error)();  // null, or a text for free_text
    void (*free_text)(char const*);
    int (*create_core)(Core**);
    int (*core_property)(Core const*, char const* device, char const* key, char** value);
    int (*read_model)(Core const*, char const* data, std::size_t bytes, Tensor const* weights, Model**);
    int (*create_shape)(std::int64_t rank, std::int64_t const* dims, PartialShape*);
    void (*free_partial_shape)(PartialShape*);
    int (*reshape_input)(Model const*, PartialShape);
    int (*compile)(Core const*, Model const*, char const* device, std::size_t words, Compiled**, ...);
    int (*create_request)(Compiled const*, Request**);
    int (*tensor)(Request const*, char const* name, Tensor**);
    int (*tensor_data)(Tensor const*, void**);
    int (*tensor_bytes)(Tensor const*, std::size_t*);
    int (*tensor_shape)(Tensor const*, Shape*);
    int (*free_shape)(Shape*);
    int (*infer)(Request*);
    int (*start)(Request*);
    int (*wait_for)(Request*, std::int64_t ms);
    int (*cancel)(Request*);
    void (*free_model)(Model*);
    void (*free_compiled)(Compiled*);
    void (*free_request)(Request*);
    void (*free_tensor)(Tensor*);
};

/// Call `take(name, place of the function)` for each.
template <class Take>
void for_each_function(Api& api, Take&& take) {
    take("ov_get_openvino_version", &api.version);
    take("ov_version_free", &api.free_version);
    take("ov_get_last_err_msg", &api.last_error);
    take("ov_free", &api.free_text);
    take("ov_core_create", &api.create_core);
    take("ov_core_get_property", &api.core_property);
    take("ov_core_read_model_from_memory_buffer", &api.read_model);
    take("ov_partial_shape_create_static", &api.create_shape);
    take("ov_partial_shape_free", &api.free_partial_shape);
    take("ov_model_reshape_single_input", &api.reshape_input);
    take("ov_core_compile_model", &api.compile);
    take("ov_compiled_model_create_infer_request", &api.create_request);
    take("ov_infer_request_get_tensor", &api.tensor);
    take("ov_tensor_data", &api.tensor_data);
    take("ov_tensor_get_byte_size", &api.tensor_bytes);
    take("ov_tensor_get_shape", &api.tensor_shape);
    take("ov_shape_free", &api.free_shape);
    take("ov_infer_request_infer", &api.infer);
    take("ov_infer_request_start_async", &api.start);
    take("ov_infer_request_wait_for", &api.wait_for);
    take("ov_infer_request_cancel", &api.cancel);
    take("ov_model_free", &api.free_model);
    take("ov_compiled_model_free", &api.free_compiled);
    take("ov_infer_request_free", &api.free_request);
    take("ov_tensor_free", &api.free_tensor);
}

}  // namespace edgeosr::ov
