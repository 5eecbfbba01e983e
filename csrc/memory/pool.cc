// Torch's allocator on the CPU while a model is trained: large blocks come from a region of their own.
//
// Compiled with torch's C++ headers, which the stable ABI has no part of, so that the library belongs to the version of
// torch that it was compiled with: harness/ops/pool.py compares it with the version that runs.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <torch/headeronly/version.h>

#include "memory/region.h"

namespace {

constexpr size_t kSmallest = size_t{64} << 10;  // smaller blocks come from the C library
constexpr uint8_t kPriority = 1;

harness::Region* region = nullptr;  // lives as long as the process: tensors may be freed at its very end
bool bounded = false;

void give_back(void* block) {
  if (region->owns(block)) {
    region->give_back(block);
  } else {
    c10::free_cpu(block);
  }
}

struct PoolAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes < kSmallest ? nullptr : region->take(bytes);
    if (block == nullptr) {
      TORCH_CHECK_WITH(
          OutOfMemoryError, bytes < kSmallest || !bounded, "out of memory: can't allocate memory: ", bytes,
          " bytes do not fit");
      block = c10::alloc_cpu(bytes);
    }
    return {block, block, &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT const char* harness_pool_torch_version() { return TORCH_VERSION; }

// Reserves the region's addresses at the first call. Returns whether the pool can be used.
EXPORT bool harness_pool_reserve(uint64_t bytes) {
  if (region == nullptr) {
    region = new harness::Region(bytes / harness::Region::kExtension * harness::Region::kExtension);
    pthread_atfork([] { region->lock(); }, [] { region->unlock(); }, [] { region->unlock(); });
  }
  return region->ready();
}

// Makes the pool torch's allocator, or the default again; blocks find their own way back.
EXPORT void harness_pool_use(bool used) {
  static PoolAllocator pool;
  c10::SetCPUAllocator(used ? &pool : c10::GetDefaultCPUAllocator(), kPriority);
}

// Lets the pool grow by that many bytes, and raises torch.OutOfMemoryError beyond; a negative number sets no bound.
EXPORT void harness_pool_set_room(int64_t bytes) {
  bounded = bytes >= 0;
  region->set_room(bytes);
}

EXPORT void harness_pool_release() { region->release(); }

EXPORT uint64_t harness_pool_peak_bytes() { return region == nullptr ? 0 : region->peak(); }
