// The threads of one block as fibers, which one CPU thread runs in a random order. A fiber runs until it waits: at a barrier
// of the block, or for the other lanes of its warp.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace host {

struct Place {
  unsigned x = 1, y = 1, z = 1;
  Place(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct Fiber {
  Place thread{0, 0, 0};
  unsigned lane = 0;
};

struct Call {
  void (*function)(const void* context);
  const void* context;
};

// An error of the kernel that a GPU would not report: a lane that misses a shuffle, a thread that misses a barrier.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

extern Fiber* current;
extern Place block_place, grid_size;

// Sets the seed of the order in which the fibers run.
void set_schedule(uint64_t seed);

// Runs one block. Throws Fault.
void run_block(Place grid, Place block, Place place, const Call& call);

// __syncthreads: waits for every thread of the block.
void wait_for_block();

// Exchanges a value with the lanes of the warp that are in `mask`, which must be all; returns that of lane `source`, or
// the own value if there is no such lane.
uint64_t exchange(unsigned mask, uint64_t value, unsigned source);

}  // namespace host
