// The balloon of a session: its size, and what the guest tells of its memory. See session.h.
#include <linux/virtio_balloon.h>

#include <array>
#include <chrono>
#include <utility>

#include "devices/virtio/balloon.h"
#include "vmm/control/session.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{500};  // with a guest that is asked; Linux answers within one
constexpr std::array<const char*, VIRTIO_BALLOON_S_NR> kNames = VIRTIO_BALLOON_S_NAMES;

}  // namespace

void Session::balloon(std::optional<uint64_t> size, TellBalloon tell) {
  require_alive();
  VirtioBalloon* const balloon = machine_->balloon();
  if (balloon == nullptr) throw Error("the machine has no balloon", "start it with --balloon 0");
  if (size) {
    balloon->set_target(*size);
    balloon_size_ = size;
  }
  balloon_asked_.push_back(std::move(tell));
  balloon_patience_.start(kPatience);
  balloon->request_statistics([this] { balloon_patience_.start(std::chrono::milliseconds(0)); });
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
