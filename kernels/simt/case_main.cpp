// A program that runs one kernel on one case file, for builds that cannot be loaded into Python (sanitizers).
//
//   PROGRAM CASE RESULT
//
// CASE: the text line "ENTRY schedule seed", then the bytes of EdgeosrRun, uint64 size and bytes of the
// parameter struct, uint64 number of arrays, and for each: uint64 offset of its pointer in the struct, uint64
// bytes, uint64 alignment it is given (and no more), uint64 role (1: the workspace, 2: an output), its bytes.
// Each array is an allocation of its own, so that AddressSanitizer guards its ends. RESULT: outputs in order.
// Exit code 3 and a message on stderr if the kernel misused the machine.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "harness.h"

namespace {

struct Array {
    uint64_t offset, bytes, alignment, role;
    char* allocation;
    char* data;
};

template <class T>
T read(std::FILE* file) {
    T value;
    if (std::fread(&value, sizeof value, 1, file) != 1) std::abort();
    return value;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    std::FILE* file = std::fopen(arguments[1], "rb");
    if (!file) return 2;
    char entry[128];
    int schedule = 0;
    unsigned long long seed = 0;
    if (std::fscanf(file, "%127s %d %llu", entry, &schedule, &seed) != 3 || std::fgetc(file) != '\n')
        return 2;
    auto run = read<EdgeosrRun>(file);
    run.schedule = schedule;
    run.seed = seed;
    std::vector<char> parameters(read<uint64_t>(file));
    if (std::fread(parameters.data(), 1, parameters.size(), file) != parameters.size()) return 2;
    std::vector<Array> arrays(read<uint64_t>(file));
    for (Array& array : arrays) {
        array.offset = read<uint64_t>(file);
        array.bytes = read<uint64_t>(file);
        array.alignment = read<uint64_t>(file);
        array.role = read<uint64_t>(file);
        // malloc gives 16 (ASan too): start `alignment % 16` bytes in, so that no more than that is given.
        uint64_t const shift = array.alignment % 16;
        array.allocation = static_cast<char*>(std::malloc(array.bytes + shift));
        array.data = array.allocation + shift;
        if (std::fread(array.data, 1, array.bytes, file) != array.bytes) return 2;
        std::memcpy(parameters.data() + array.offset, &array.data, sizeof array.data);
        if (array.role == 1) {
            run.workspace = array.data;
            run.workspace_bytes = array.bytes;
        }
    }
    std::fclose(file);
    EdgeosrRunCounts counts;
    char const* error = edgeosr_simt_run(entry, parameters.data(), parameters.size(), &run, &counts);
    if (error) {
        std::fprintf(stderr, "SIMT: %s\n", error);
        return 3;
    }
    std::FILE* result = std::fopen(arguments[2], "wb");
    if (!result) return 2;
    for (Array const& array : arrays) {
        if (array.role == 2) std::fwrite(array.data, 1, array.bytes, result);
        std::free(array.allocation);
    }
    std::fclose(result);
    return 0;
}
