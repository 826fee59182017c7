// What nvinfer_double.cpp calls, member by member as CALLS of doubles.py.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct Calls {
    std::int32_t (*started)(std::int32_t version);  // 0: no runtime; 2: one that must not be touched
    std::int64_t (*load)(void const* plan, std::size_t bytes);
    std::int64_t (*made)(std::int64_t engine, std::int32_t strategy);
    std::int32_t (*count)(std::int64_t engine);
    void (*name)(std::int64_t engine, std::int32_t index, char* text);
    std::int32_t (*fact)(std::int64_t engine, char const* name, char const* what);
    std::int32_t (*profile)(
        std::int64_t engine, char const* name, std::int32_t index, std::int32_t which, std::int64_t* sizes);
    std::int64_t (*memory)(std::int64_t engine);
    void (*set_memory)(std::int64_t context, void* address, std::int64_t bytes);
    std::int32_t (*set_shape)(std::int64_t context,
                              char const* name,
                              std::int32_t rank,
                              std::int64_t const* sizes);
    std::int32_t (*shape)(std::int64_t context, char const* name, std::int64_t* sizes);
    std::int32_t (*set_address)(std::int64_t context, char const* name, void* address);
    std::int32_t (*enqueue)(std::int64_t context, void* stream);
    void (*gone)(char const* what, std::int64_t number);
    void (*said)(char* text);  // what is logged as an error after a call that failed
    std::int32_t version, build;
};

void double_set(Calls const* to);

}  // extern "C"
