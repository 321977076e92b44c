// StreamNet: a network backend over a stream socket, whose other side is a helper (passt) or another monitor.
//
// On the stream each frame stands behind its length, four bytes in network order: what QEMU's `-netdev stream` speaks.
// There is no header for checksums and segmentation, so none of that is offered. Both ways a stream is moved in large
// pieces: one read and one write for all frames of a turn of the loop.
//
// Who the peer is and how a lost one is replaced is the affair of a NetEndpoint. While there is none, the link is down.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/net/net_backend.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class NetEndpoint {
 public:
  virtual ~NetEndpoint() = default;

  virtual std::string describe() const = 0;
  // Calls back, on the loop, with the socket of each peer that is found: the first, and another one after each
  // peer_lost().
  virtual void start(std::function<void(UniqueFd)> on_peer) = 0;
  virtual void peer_lost() = 0;
};

class StreamNet : public NetBackend {
 public:
  struct Stats {
    uint64_t peers = 0;
    uint64_t dropped = 0;  // frames from the guest while there was no peer
  };

  StreamNet(EventLoop& loop, std::unique_ptr<NetEndpoint> endpoint);
  StreamNet(const StreamNet&) = delete;
  StreamNet& operator=(const StreamNet&) = delete;

  const Stats& stats() const { return stats_; }

  std::string describe() const override { return endpoint_->describe(); }
  bool link_up() const override { return static_cast<bool>(peer_); }
  void attach(NetClient* client) override;
  std::optional<size_t> receive(size_t queue, std::span<const iovec> room) override;
  bool send(size_t queue, std::span<const iovec> frame) override;

 private:
  static constexpr size_t kInputSize = 128 * 1024;
  static constexpr size_t kOutputSize = 256 * 1024;

  void set_peer(UniqueFd peer);
  void lost(const std::string& why);
  void readable();
  bool read_more();
  std::optional<size_t> take_frame(std::span<const iovec> room);
  void schedule_flush();
  void flush();

  EventLoop& loop_;
  std::unique_ptr<NetEndpoint> endpoint_;
  UniqueFd peer_;
  std::optional<FdWatch> readable_;
  std::optional<FdWatch> writable_;
  NetClient* client_ = nullptr;
  Stats stats_;

  std::unique_ptr<std::byte[]> input_;  // kInputSize bytes; what has arrived is in [taken_, arrived_)
  size_t taken_ = 0;
  size_t arrived_ = 0;
  bool may_read_ = true;  // once for each time that the socket was found readable

  std::vector<std::byte> output_;  // what the peer has not taken is from sent_ on
  size_t sent_ = 0;
  bool flush_scheduled_ = false;
  bool room_owed_ = false;

  // Callbacks queued in the loop may outlive the backend: they hold this weakly.
  std::shared_ptr<StreamNet*> self_;
};

}  // namespace vmm
