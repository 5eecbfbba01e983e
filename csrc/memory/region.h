// A region of memory from which large blocks are taken and given back: best fit, neighbours joined at once. It knows
// nothing of torch.
//
// glibc serves a training badly. Batches have many lengths, so that a step's blocks have other sizes than the step's
// before; a block from posix_memalign fits no hole of its own size, since glibc looks for the size plus the alignment;
// the heap grows on. Here every block is a whole number of pages, so that each is aligned, and a hole of the same size
// fits. The bookkeeping lies outside the region.
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
    const auto found = by_size_.lower_bound({size, 0});
    size_t start = 0;
    if (found != by_size_.end()) {
      const auto [hole, place] = *found;
      start = place;
      remove_hole(holes_.find(place));
      if (hole > size) add_hole(start + size, hole - size);
    } else {
      const auto last = holes_.empty() ? holes_.end() : std::prev(holes_.end());
      const bool at_top = last != holes_.end() && last->first + last->second == top_;
      start = at_top ? last->first : top_;
      if (!grow(start + size)) return nullptr;
      if (at_top) remove_hole(last);
      top_ = start + size;
    }
    taken_.emplace(start, size);
    live_ += size;
    peak_ = std::max(peak_, live_);
    return base_ + start;
  }

  void give_back(void* block) {
    const std::lock_guard lock(mutex_);
    size_t start = static_cast<size_t>(static_cast<char*>(block) - base_);
    const auto taken = taken_.find(start);
    size_t size = taken->second;
    taken_.erase(taken);
    live_ -= size;
    const auto next = holes_.lower_bound(start);
    const auto before = next == holes_.begin() ? holes_.end() : std::prev(next);
    if (next != holes_.end() && next->first == start + size) {
      size += next->second;
      remove_hole(next);
    }
    if (before != holes_.end() && before->first + before->second == start) {
      start = before->first;
      size += before->second;
      remove_hole(before);
    }
    add_hole(start, size);
  }

  // Returns the pages of all holes to the system.
  void release() {
    const std::lock_guard lock(mutex_);
    for (const auto& [start, size] : holes_) madvise(base_ + start, size, MADV_DONTNEED);
    if (holes_.empty()) return;
    const auto last = std::prev(holes_.end());
    if (last->first + last->second != top_) return;
    top_ = last->first;
    remove_hole(last);
    used_ = std::min(used_, (top_ + kPage - 1) / kPage * kPage);
  }

  // Lets the region grow by that many bytes from now on; a negative number sets no bound.
  void set_room(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    bound_ = bytes < 0 ? SIZE_MAX : used_ + static_cast<size_t>(bytes);
  }

  size_t peak() const { return peak_; }
  size_t top() const { return used_; }

  // For a process that forks: a child must not inherit a mutex that another thread holds.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  using Holes = std::map<size_t, size_t>;

  bool grow(size_t end) {
    if (end > reserved_ || (end > used_ && end > bound_)) return false;
    if (end > writable_) {
      const size_t grown = std::min((end + kExtension - 1) / kExtension * kExtension, reserved_);
      if (mprotect(base_ + writable_, grown - writable_, PROT_READ | PROT_WRITE) != 0) return false;
      writable_ = grown;
    }
    used_ = std::max(used_, end);
    return true;
  }

  void add_hole(size_t start, size_t size) {
    holes_.emplace(start, size);
    by_size_.emplace(size, start);
  }

  void remove_hole(Holes::const_iterator hole) {
    by_size_.erase({hole->second, hole->first});
    holes_.erase(hole);
  }

  std::mutex mutex_;
  char* base_ = nullptr;
  size_t reserved_ = 0;
  size_t writable_ = 0;  // from the base on
  size_t used_ = 0;      // the highest end of a block since the last release
  size_t top_ = 0;       // end of the last block or hole
  size_t bound_ = SIZE_MAX;
  size_t live_ = 0;
  size_t peak_ = 0;
  Holes holes_;                                   // start -> size
  std::set<std::pair<size_t, size_t>> by_size_;  // size, start: the smallest hole that fits, the lowest of equals
  std::unordered_map<size_t, size_t> taken_;     // start -> size
};

}  // namespace harness
