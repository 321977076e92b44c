// The two ends of a network backend in tests: its client, which counts, and calls with whole frames.
#pragma once

#include <string>

#include "devices/backends/net/net_backend.h"

namespace vmm::test {

struct CountingClient : NetClient {
  void frames_arrived(size_t) override { ++arrivals; }
  void room_made(size_t) override { ++rooms; }
  void link_changed() override { ++changes; }
  unsigned arrivals = 0, rooms = 0, changes = 0;
};

// "nothing" when there is none.
inline std::string receive(NetBackend& backend, size_t queue = 0) {
  std::string room(kMaxFrame, '\0');
  const iovec part{room.data(), room.size()};
  const auto length = backend.receive(queue, {&part, 1});
  return length ? room.substr(0, *length) : "nothing";
}
inline bool send(NetBackend& backend, std::string frame, size_t queue = 0) {
  const iovec part{frame.data(), frame.size()};
  return backend.send(queue, {&part, 1});
}

}  // namespace vmm::test
