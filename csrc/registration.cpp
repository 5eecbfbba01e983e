// The schemas of every op. CPU and CUDA kernels are registered beside their code; fake kernels and autograd in
// harness/ops/registration.py.
#include <torch/csrc/stable/library.h>

namespace {
int64_t schema_version() { return 1; }  // equals SCHEMA_VERSION in harness/ops/extension.py
}  // namespace

STABLE_TORCH_LIBRARY(harness, library) {
  library.def("schema_version() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(harness, CompositeExplicitAutograd, library) {
  library.impl("schema_version", TORCH_BOX(&schema_version));
}
