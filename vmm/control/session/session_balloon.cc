// The balloon of a session: its size, and what the guest tells of its memory. See session.h.
#include <linux/virtio_balloon.h>

#include <array>
#include <chrono>
#include <utility>

#include "devices/virtio/balloon.h"
#include "vmm/control/session/session.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

using std::chrono::steady_clock;

// Patience with a guest that is asked. Linux answers within one millisecond, but first looks for all that is free.
constexpr std::chrono::milliseconds kPatience{500};
constexpr std::chrono::seconds kHintsPatience{5};
constexpr std::array<const char*, VIRTIO_BALLOON_S_NR> kNames = VIRTIO_BALLOON_S_NAMES;

}  // namespace

void Session::balloon(const BalloonRequest& request, TellBalloon tell) {
  require_alive();
  VirtioBalloon* const balloon = machine_->balloon();
  if (balloon == nullptr) throw Error("the machine has no balloon", "start it with --balloon 0");
  if (request.hint) {
    balloon->request_hints([this] { take_hints(); });
    // One that began before is for all that have asked, so that nobody waits longer.
    if (!hints_patience_.running()) hints_patience_.start(kHintsPatience);
  }
  if (request.size) {
    balloon->set_target(*request.size);
    balloon_size_ = request.size;
  }
  if (request.hint) {
    hints_asked_.push_back(std::move(tell));
  } else {
    balloon_asked_.push_back(std::move(tell));
    ask_statistics();
  }
}

// The guest has said all, or its time is over. One that was reset meanwhile has said nothing.
void Session::take_hints() {
  hints_patience_.cancel();
  VirtioBalloon* const balloon = machine_->balloon();
  balloon->end_hints();
  for (const TellBalloon& tell : std::exchange(hints_asked_, {})) {
    balloon_asked_.emplace_back([tell, hints = balloon->hints()](Balloon told) {
      told.hinted = hints.bytes;
      told.hinted_all = hints.complete;
      tell(told);
    });
  }
  ask_statistics();
}

void Session::ask_statistics() {
  balloon_patience_.start(kPatience);
  machine_->balloon()->request_statistics([this] { balloon_patience_.start(std::chrono::milliseconds(0)); });
}

void Session::tell_balloon() {
  Balloon told;
  if (const VirtioBalloon* const balloon = machine_->balloon()) {
    told = {.target = balloon->target(), .actual = balloon->actual(), .given_back = balloon->counts().discarded_bytes};
    if (const auto& statistics = balloon->statistics()) {
      told.age = std::chrono::duration<double>(steady_clock::now() - statistics->when).count();
      for (size_t i = 0; i < kNames.size(); ++i) {
        if (const auto& value = statistics->values.at(i)) told.guest.emplace_back(kNames.at(i), *value);
      }
    }
  }
  for (const TellBalloon& tell : std::exchange(balloon_asked_, {})) tell(told);
}

}  // namespace vmm
