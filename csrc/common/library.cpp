// The op library's version and instruction set. Each op's schema is in its own folder.
#include <torch/csrc/stable/library.h>

#include <string>

#include "cpu/instruction_set.h"

namespace {
int64_t schema_version() { return 3; }  // equals SCHEMA_VERSION in harness/ops/extension.py

std::string instruction_set() { return harness::set_name(harness::instruction_set()); }
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(harness, library) {
  library.def("schema_version() -> int");
  library.def("instruction_set() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(harness, CompositeExplicitAutograd, library) {
  library.impl("schema_version", TORCH_BOX(&schema_version));
  library.impl("instruction_set", TORCH_BOX(&instruction_set));
}
