// When to be patient, and how; see patience.h.
#include "vmm/core/patience.h"

#include <sched.h>

#include <algorithm>
#include <utility>

namespace vmm {

void Patience::end_turn(size_t served) {
  if (served == 0) return;
  ++turns_;
  served_ += served;
  if (turns_ < (patient_ ? kTrial : pause_)) return;
  if (patient_) {
    patient_ = served_ >= kGathered;
    pause_ = patient_ ? kMinPause : std::min(2 * pause_, kMaxPause);
  } else {
    patient_ = true;
  }
  turns_ = 0;
  served_ = 0;
}

void ThreadPatience::set(bool patient) {
  if (!ours_) ours_ = ::sched_getscheduler(0) == SCHED_OTHER;
  if (!*ours_ || std::exchange(patient_, patient) == patient) return;
  const sched_param none{};
  ::sched_setscheduler(0, patient ? SCHED_BATCH : SCHED_OTHER, &none);
}

}  // namespace vmm
