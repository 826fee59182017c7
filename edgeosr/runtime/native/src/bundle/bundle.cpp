#include "bundle/bundle.h"

#include <unistd.h>

#include "base/failure.h"
#include "base/sha256.h"
#include "bundle/onnx/rules.h"

namespace edgeosr {
namespace {

constexpr int kMostAttempts = 20;  // of reading a bundle that is replaced again and again meanwhile

Bytes manifest_data(std::string const& path) {
    bool const missing = is_missing(path);
    if (missing || (access(path.c_str(), F_OK) == 0 && !is_directory(path))) {
        fail(EDGEOSR_BAD_BUNDLE,
             missing ? "there is no bundle at '" : "'",
             shown(path, 400),
             missing ? "'" : "' is a file",
             "; name a bundle: a directory NAME.edgeosr, made by edgeosr export");
    }
    if (is_missing(path + "/manifest.json"))
        fail(EDGEOSR_BAD_BUNDLE,
             path,
             " is no bundle: it has no manifest.json; name a directory NAME.edgeosr, or copy it again");
    return read_plain_file(path, "manifest.json", std::nullopt, kManifestLimit);
}

Bundle read_whole(std::string const& path, Bytes const& data) {
    Bundle made;
    made.path = path;
    made.manifest_sha256 = sha256_hex(data.data(), data.size());
    made.manifest_text = data.text();
    made.manifest = parse_manifest(data.text(), path + "/manifest.json");
    for (auto const& record : made.manifest.files) {
        Bytes bytes = read_plain_file(path, record.name, record.bytes, record.bytes);
        std::string const found = sha256_hex(bytes.data(), bytes.size());
        if (found != record.sha256)
            fail(EDGEOSR_BAD_BUNDLE,
                 path,
                 "/",
                 record.name,
                 " is damaged: its SHA-256 is ",
                 found.substr(0, 12),
                 "..., the manifest says ",
                 record.sha256.substr(0, 12),
                 "...; copy the bundle again or export it again");
        made.files.push_back(std::move(bytes));
    }
    onnx::require_model(made.file("model.onnx"), made.manifest, path);
    if (made.manifest.backbone) onnx::require_backbone(made.file("backbone.onnx"), made.manifest, path);
    if (made.manifest.body) onnx::require_body(made.file("body.onnx"), made.manifest, path);
    return made;
}

}  // namespace

std::string_view Bundle::file(std::string_view name) const {
    for (std::size_t i = 0; i < manifest.files.size(); ++i)
        if (manifest.files[i].name == name) return files[i].text();
    return {};
}

Bytes Bundle::take_file(std::string_view name) {
    for (std::size_t i = 0; i < manifest.files.size(); ++i)
        if (manifest.files[i].name == name) return std::move(files[i]);
    return {};
}

Bundle read_bundle(std::string const& path) {
    for (int attempt = 0;; ++attempt) {
        Bytes const data = manifest_data(path);
        try {
            return read_whole(path, data);
        } catch (Failure const&) {
            if (attempt == kMostAttempts - 1 || manifest_data(path).text() == data.text()) throw;
        }
    }
}

}  // namespace edgeosr
