// BalloonConfig: what `--balloon` says of the memory that a guest is to do without.
//
//   SIZE[,deflate-on-oom=off][,reporting=off]
#pragma once

#include <cstdint>

namespace vmm {

struct BalloonConfig {
  uint64_t size = 0;           // bytes, taken from the guest as soon as it has a driver
  bool deflate_on_oom = true;  // the guest may take memory back rather than kill a process
  bool reporting = true;       // it tells of the pages that it frees
};

// Throws Error when a balloon of that many bytes is larger than the guest.
void require_balloon_fits(uint64_t balloon, uint64_t memory);

}  // namespace vmm
