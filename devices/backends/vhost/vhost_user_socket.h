// VhostUserSocket: a back-end process at a Unix socket, which serves one virtio device from the guest's memory. Found
// at start, lost when it dies, and found again when somebody has started it anew.
//
// What it can do is asked at start, and is what the guest is offered. One that comes later has to be able to do the
// same, because the guest may be using it: else it is turned away, and the next is tried. Everything after the start
// happens on the loop, without waiting.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/vhost/vhost_user_channel.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/log.h"

namespace vmm {

// What kind of device a back-end is to be.
struct VhostUserRole {
  std::string name;         // "vhost-user-blk"
  std::string how;          // to start one at SOCKET: a command line for people
  uint64_t features = 0;    // features of the device type that are of use
  size_t config_size = 0;   // of the configuration that the back-end has; 0: it has none
  uint16_t min_queues = 1;  // without these it is of no use
};

// What a back-end said about itself.
struct VhostUserAbilities {
  uint64_t features = 0;  // features of the role's and of the ring
  uint64_t protocol = 0;  // VHOST_USER_PROTOCOL_F_*, agreed on
  uint64_t queues = 1;
  std::vector<std::byte> config;
};

// The front end. Called on the loop.
class VhostUserClient {
 public:
  virtual ~VhostUserClient() = default;
  virtual void backend_lost() = 0;
  virtual void backend_found() = 0;
};

class VhostUserSocket {
 public:
  // Connects, and hears what it can do, within seconds. Throws Error.
  VhostUserSocket(EventLoop& loop, VhostUserRole role, std::string path);
  VhostUserSocket(const VhostUserSocket&) = delete;
  VhostUserSocket& operator=(const VhostUserSocket&) = delete;
  ~VhostUserSocket();

  EventLoop& loop() const { return loop_; }
  std::string describe() const { return "vhost-user " + path_; }
  // What it has said at start; but the configuration is the newest.
  const VhostUserAbilities& abilities() const { return abilities_; }
  bool has(unsigned protocol_feature) const { return (abilities_.protocol >> protocol_feature & 1) != 0; }

  // Nobody, or the one who hears of what happens. The client before it is gone.
  void attach(VhostUserClient* client) { client_ = client; }
  // Null while there is no back-end.
  std::shared_ptr<VhostUserChannel> channel() const { return found_ ? channel_ : nullptr; }

 private:
  struct Introduction;
  static Task<Introduction> introduce(std::shared_ptr<VhostUserChannel> channel, VhostUserRole role);
  static Task<void> keep(Task<Introduction> task, Introduction& result);
  static Task<void> meet(std::weak_ptr<VhostUserSocket*> weak, std::shared_ptr<VhostUserChannel> channel,
                         VhostUserRole role);
  std::string how_to_start() const;
  void first_meeting();
  void adopt(UniqueFd socket);
  void search();
  void search_later();
  void met(Introduction introduction);
  void lost(const std::string& why);
  const char* shortcoming(const VhostUserAbilities& other) const;

  EventLoop& loop_;
  const VhostUserRole role_;
  const std::string path_;
  VhostUserAbilities abilities_;
  VhostUserClient* client_ = nullptr;
  std::shared_ptr<VhostUserChannel> channel_;
  bool found_ = false;  // the channel's end is known, and of use
  Timer retry_;
  std::chrono::milliseconds wait_;
  std::chrono::steady_clock::time_point found_at_;
  LogLimit log_limit_;
  // Tasks and callbacks may outlive the socket: they hold this weakly.
  std::shared_ptr<VhostUserSocket*> self_;
};

}  // namespace vmm
