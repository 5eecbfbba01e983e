// A region of memory from which large blocks are taken and given back: best fit, neighbours joined at once. It knows
// nothing of torch.
//
// glibc serves a training badly. Batches have many lengths, so that a step's blocks have other sizes than the step's
// before; a block from posix_memalign fits no hole of its own size, since glibc looks for the size plus the alignment;
// the heap grows on. Here every block is a whole number of pages, so that each is aligned, and a hole of the same size
// fits. The bookkeeping lies outside the region.
//
// Holes that no block of later sizes fits would pile up over a training, each with its pages. So the region counts the
// pages that may be resident, and returns those of all holes to the system once they are a quarter more than were ever
// in use at once. What is resident has that bound, however many lengths the batches have.
#pragma once

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

namespace harness {

class Region {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kExtension = size_t{64} << 20;

  // Reserves addresses, but no memory. `bytes` is a multiple of kExtension.
  explicit Region(size_t bytes) {
    void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return;
    base_ = static_cast<char*>(start);
    reserved_ = bytes;
  }

  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  ~Region() {
    if (base_ != nullptr) munmap(base_, reserved_);
  }

  bool ready() const { return base_ != nullptr; }

  bool owns(const void* block) const {
    return base_ <= block && block < base_ + reserved_;
  }

  // Returns a block, or null where the region may not or cannot grow.
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > reserved_) return nullptr;
    const size_t size = (bytes + kPage - 1) / kPage * kPage;
    if (live_ + size > bound_) return nullptr;
    const auto found = by_size_.lower_bound({size, 0});
    size_t start = 0;
    if (found != by_size_.end()) {
      start = found->second;
      const Hole hole = remove_hole(holes_.find(start));
      // The block may lie on pages that are not resident as long as the hole has such pages.
      const size_t left = hole.size - size;
      if (left > 0) add_hole(start + size, {left, std::min(left, hole.resident)});
    } else {
      const auto last = holes_.empty() ? holes_.end() : std::prev(holes_.end());
      const bool at_top = last != holes_.end() && last->first + last->second.size == top_;
      start = at_top ? last->first : top_;
      if (!make_writable(start + size)) return nullptr;
      if (at_top) remove_hole(last);
      top_ = start + size;
    }
    taken_.emplace(start, size);
    live_ += size;
    peak_ = std::max(peak_, live_);
    const size_t resident = live_ + idle_;
    if (resident > bound_ || (idle_ > kLeastReturned && resident > peak_ / 4 * 5)) return_pages();
    return base_ + start;
  }

  void give_back(void* block) {
    const std::lock_guard lock(mutex_);
    size_t start = static_cast<size_t>(static_cast<char*>(block) - base_);
    const auto taken = taken_.find(start);
    size_t size = taken->second;
    taken_.erase(taken);
    live_ -= size;
    Hole hole{size, size};
    const auto next = holes_.lower_bound(start);
    const auto before = next == holes_.begin() ? holes_.end() : std::prev(next);
    if (next != holes_.end() && next->first == start + size) hole += remove_hole(next);
    if (before != holes_.end() && before->first + before->second.size == start) {
      start = before->first;
      hole += remove_hole(before);
    }
    add_hole(start, hole);
  }

  // Returns the pages of all holes to the system.
  void release() {
    const std::lock_guard lock(mutex_);
    return_pages();
    if (holes_.empty()) return;
    const auto last = std::prev(holes_.end());
    if (last->first + last->second.size != top_) return;
    top_ = last->first;
    remove_hole(last);
  }

  // Lets the resident pages grow by that many bytes from now on; a negative number sets no bound.
  void set_room(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    bound_ = bytes < 0 ? SIZE_MAX : live_ + idle_ + static_cast<size_t>(bytes);
  }

  size_t peak() const { return peak_; }

  // For a process that forks: a child must not inherit a mutex that another thread holds.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr size_t kLeastReturned = size_t{64} << 20;  // so that a small training makes no system calls

  struct Hole {
    size_t size;
    size_t resident;  // how many of its bytes are resident at most

    void operator+=(const Hole& other) {
      size += other.size;
      resident += other.resident;
    }
  };
  using Holes = std::map<size_t, Hole>;

  bool make_writable(size_t end) {
    if (end > reserved_) return false;
    if (end <= writable_) return true;
    const size_t grown = std::min((end + kExtension - 1) / kExtension * kExtension, reserved_);
    if (mprotect(base_ + writable_, grown - writable_, PROT_READ | PROT_WRITE) != 0) return false;
    writable_ = grown;
    return true;
  }

  void return_pages() {
    for (auto& [start, hole] : holes_) {
      if (hole.resident > 0) madvise(base_ + start, hole.size, MADV_DONTNEED);
      hole.resident = 0;
    }
    idle_ = 0;
  }

  void add_hole(size_t start, Hole hole) {
    holes_.emplace(start, hole);
    by_size_.emplace(hole.size, start);
    idle_ += hole.resident;
  }

  Hole remove_hole(Holes::const_iterator at) {
    const Hole hole = at->second;
    by_size_.erase({hole.size, at->first});
    holes_.erase(at);
    idle_ -= hole.resident;
    return hole;
  }

  std::mutex mutex_;
  char* base_ = nullptr;
  size_t reserved_ = 0;
  size_t writable_ = 0;  // from the base on
  size_t top_ = 0;       // end of the last block or hole
  size_t bound_ = SIZE_MAX;
  size_t live_ = 0;
  size_t peak_ = 0;
  size_t idle_ = 0;  // bytes of holes that are resident at most
  Holes holes_;      // by start
  std::set<std::pair<size_t, size_t>> by_size_;  // size, start: the smallest hole that fits, the lowest of equals
  std::unordered_map<size_t, size_t> taken_;     // start -> size
};

}  // namespace harness
