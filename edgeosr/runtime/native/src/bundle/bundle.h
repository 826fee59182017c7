// A bundle on disk: one directory NAME.edgeosr, every byte of it held against its manifest
// (edgeosr/bundle/directory.py).
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "bundle/golden.h"
#include "bundle/manifest.h"

namespace edgeosr {

struct Bundle {
    std::string path, manifest_sha256;
    std::string manifest_text;
    Manifest manifest;
    std::vector<Bytes> files;  // contents, in the order of manifest.files

    std::string_view file(std::string_view name) const;
    Bytes take_file(std::string_view name);  // moved out
};

/// Read and check a bundle: manifest, sizes, hashes, then graphs. Throws Failure that says which file or
/// field.
Bundle read_bundle(std::string const& path);

}  // namespace edgeosr
