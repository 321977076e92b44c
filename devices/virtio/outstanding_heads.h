// OutstandingHeads: which requests of a ring that another process serves have been taken and not been returned.
//
// That process may die, and who comes after it must do just these: one that is forgotten hangs the guest, one that is
// returned twice breaks its driver. Indices alone do not tell, as requests are returned in any order. So both sides of
// the ring are followed: observe() reads the entries that have been added to each since it was last called.
//
// It has to be called at least once for each ring's worth of them. When it was not, entries have been overwritten
// unseen, and nothing is known until the ring is found empty. That is seldom: it is called at each interrupt, and there
// is one unless the guest finds what is returned by looking.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "devices/virtio/virtqueue.h"

namespace vmm {

class OutstandingHeads {
 public:
  // The ring is the queue's, and nothing has been taken from it.
  explicit OutstandingHeads(const Virtqueue& queue);

  // Whether something has been returned since it was last called. On any state of the guest's memory.
  bool observe();
  // Once nobody serves the ring: those heads, in no order; nothing when they are not known.
  std::optional<std::vector<uint16_t>> heads();
  // The same: makes them those that whoever serves the ring next takes, from used_index() on, if they are known. The
  // driver can tell no difference, as it never looks at what it has made available.
  void make_next();

  uint16_t used_index() const;

 private:
  uint16_t available_index() const;
  uint16_t available_at(uint16_t index) const;
  bool follow(uint16_t available, uint16_t used);

  const uint16_t size_;
  const GuestSlice available_;
  const GuestSlice used_;
  uint16_t seen_available_ = 0;
  uint16_t seen_used_ = 0;
  std::vector<int8_t> count_;  // by head: times that it was made available and not returned
  bool known_ = true;
};

}  // namespace vmm
