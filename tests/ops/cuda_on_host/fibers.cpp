// Fibers with a switch of their own on x86-64, with ucontext elsewhere. With HOST_TSAN they are threads to ThreadSanitizer,
// which a barrier orders, and nothing else: this file itself is then not instrumented.
#include "fibers.h"

#include <memory>
#include <string>
#include <vector>

#if defined(__x86_64__)
extern "C" void switch_stack(void** from, void* to);
asm(R"(
.text
.globl switch_stack
.type switch_stack, @function
switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size switch_stack, .-switch_stack
)");
#else
#include <ucontext.h>
#endif
#ifdef HOST_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace host {

Fiber* current = nullptr;
Place block_place{0, 0, 0}, grid_size{1};

namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kLanes = 32;

#ifdef HOST_TSAN
// What happened before a release at a place is ordered before what follows an acquire there.
void release(void* place) { __tsan_release(place); }
void acquire(void* place) { __tsan_acquire(place); }

// The thread that ThreadSanitizer takes a fiber for.
struct Marks {
  void* fiber = nullptr;
  void create() {
    destroy();
    fiber = __tsan_create_fiber(0);
  }
  void destroy() {
    if (fiber) __tsan_destroy_fiber(fiber);
    fiber = nullptr;
  }
  void take_own() { fiber = __tsan_get_current_fiber(); }
  void switch_to() { __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync); }
};
#else
void release(void*) {}
void acquire(void*) {}
struct Marks {
  void create() {}
  void destroy() {}
  void take_own() {}
  void switch_to() {}
};
#endif

enum class State { ready, in_barrier, in_exchange, finished };

// A place where one thread of control stops and goes on.
struct Context {
  Marks marks;
#if defined(__x86_64__)
  void* stack = nullptr;

  void prepare(char* memory, void (*entry)()) {
    auto* top = reinterpret_cast<uint64_t*>(memory + kStackBytes) - 2;  // entry finds the stack aligned as after a call
    *top = reinterpret_cast<uint64_t>(entry);
    stack = top - 6;
    marks.create();
  }
  void switch_to(Context& other) {
    other.marks.switch_to();
    switch_stack(&stack, other.stack);
  }
#else
  ucontext_t context;

  void prepare(char* memory, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = memory;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
    marks.create();
  }
  void switch_to(Context& other) {
    other.marks.switch_to();
    swapcontext(&context, &other.context);
  }
#endif
};

struct Thread : Fiber {
  State state = State::ready;
  unsigned warp = 0;
  Context context;
};

struct Warp {
  unsigned arrived = 0;
  unsigned turn = 0;  // values of two exchanges, so that a lane may write its next value before others have read this one
  uint64_t values[2][kLanes];
};

struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned in_barrier = 0, barriers = 0, finished = 0;
  char phases[2];
  std::string fault;
  Context scheduler;
  Call call{};
};

Block block;
std::vector<std::unique_ptr<char[]>> stacks;
uint64_t schedule = 1;

uint64_t next_random() {
  schedule = schedule * 6364136223846793005u + 1442695040888963407u;
  return schedule >> 33;
}

Thread& self() { return *static_cast<Thread*>(current); }

void leave() { self().context.switch_to(block.scheduler); }

void report(const std::string& message) {
  if (block.fault.empty()) block.fault = message;
  for (;;) leave();  // the scheduler never comes back
}

std::string name(const Thread& thread) {
  return "thread " + std::to_string(thread.thread.x) + ", " + std::to_string(thread.thread.y);
}

void enter() {
  acquire(&block.call);
  block.call.function(block.call.context);
  release(&block.finished);
  self().state = State::finished;
  ++block.finished;
  if (block.in_barrier > 0) report(name(self()) + " ended while others wait at a barrier");
  leave();
}

void prepare(Place size) {
  const unsigned count = size.x * size.y;
  while (stacks.size() < count) stacks.emplace_back(new char[kStackBytes]);
  block.threads.resize(count);
  block.warps.assign((count + kLanes - 1) / kLanes, Warp{});
  block.in_barrier = block.finished = 0;
  block.fault.clear();
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = block.threads[i];
    thread.thread = Place(i % size.x, i / size.x, 0);
    thread.lane = i % kLanes;
    thread.warp = i / kLanes;
    thread.state = State::ready;
    thread.context.prepare(stacks[i].get(), enter);
  }
}

// Runs every fiber that is ready once, from a random one on, in steps of a random odd number. Returns how many ran.
unsigned sweep() {
  const unsigned count = static_cast<unsigned>(block.threads.size());
  const unsigned step = count % 2 ? 1 : static_cast<unsigned>(next_random() | 1) % count;
  unsigned place = static_cast<unsigned>(next_random() % count), ran = 0;
  for (unsigned i = 0; i < count && block.fault.empty(); ++i, place = (place + step) % count) {
    if (block.threads[place].state != State::ready) continue;
    current = &block.threads[place];
    block.scheduler.switch_to(block.threads[place].context);
    ++ran;
  }
  return ran;
}

}  // namespace

void set_schedule(uint64_t seed) { schedule = seed * 2 + 1; }

void run_block(Place grid, Place size, Place place, const Call& call) {
  grid_size = grid;
  block_place = place;
  block.call = call;
  prepare(size);
  block.scheduler.marks.take_own();
  release(&block.call);
  while (block.fault.empty() && block.finished < block.threads.size()) {
    if (sweep() == 0) block.fault = "every thread waits, at a barrier or for the lanes of its warp";
  }
  acquire(&block.finished);
  for (Thread& thread : block.threads) thread.context.marks.destroy();
  if (!block.fault.empty()) throw Fault(block.fault);
}

void wait_for_block() {
  if (block.finished > 0) report(name(self()) + " waits at a barrier after others ended");
  char* const phase = &block.phases[block.barriers % 2];  // a thread may reach the next barrier before others leave this one
  release(phase);
  self().state = State::in_barrier;
  if (++block.in_barrier == block.threads.size()) {
    block.in_barrier = 0;
    ++block.barriers;
    for (Thread& thread : block.threads) thread.state = State::ready;
  }
  leave();
  acquire(phase);
}

uint64_t exchange(unsigned mask, uint64_t value, unsigned source) {
  Thread& thread = self();
  Warp& warp = block.warps[thread.warp];
  const unsigned turn = warp.turn;
  if (mask != 0xffffffffu) report(name(thread) + " exchanges values with a part of its warp");
  warp.values[turn][thread.lane] = value;
  if (++warp.arrived == kLanes) {
    warp.arrived = 0;
    warp.turn = 1 - turn;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      block.threads[thread.warp * kLanes + lane].state = State::ready;
    }
  } else {
    thread.state = State::in_exchange;
  }
  leave();
  return source < kLanes ? warp.values[turn][source] : value;
}

}  // namespace host
