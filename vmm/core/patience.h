// Patience: whether a loop's thread, woken, pushes aside who has its core, or waits for its turn there.
//
// Where a vCPU shares a core with the loop, its notification of the first request would be its last act for now: the
// loop serves that one, and the next request comes with exits and an interrupt of its own. A driver that has many, with
// a disk's queue full or in the middle of a TCP stream, does several times as much when the loop waits for its turn
// (SCHED_BATCH, sched(7)): then the vCPU goes on until it has no more to ask, and all is served at once. One that asks
// a single thing and waits for the answer is served sooner when it is pushed aside. What a driver does cannot be seen
// without patience, so now and then that is tried for a few times, and kept for as long as requests gather. Where the
// loop has a core to itself, the two are the same.
#pragma once

#include <cstddef>
#include <optional>

namespace vmm {

class Patience {
 public:
  // A turn of the loop has ended in which so many requests were served.
  void end_turn(size_t served);
  bool advised() const { return patient_; }

 private:
  static constexpr size_t kTrial = 4;              // turns with requests
  static constexpr size_t kGathered = kTrial + 1;  // requests in them that are worth it
  static constexpr size_t kMinPause = 16;          // turns between two trials; doubled by each that was in vain
  static constexpr size_t kMaxPause = 128;

  bool patient_ = false;
  size_t turns_ = 0;
  size_t served_ = 0;
  size_t pause_ = kMinPause;
};

// ThreadPatience: makes the calling thread, and those that it starts, patient or not, by its scheduling policy. A
// policy that somebody chose for it, as by chrt(1), stays.
class ThreadPatience {
 public:
  void set(bool patient);

 private:
  std::optional<bool> ours_;  // whether the policy is ours to change; known with the first call
  bool patient_ = false;
};

}  // namespace vmm
