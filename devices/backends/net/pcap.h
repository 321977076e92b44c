// Pcap: a network backend that passes everything on to another one and writes a copy of each frame to a file, which
// Wireshark and tcpdump read. The format of libpcap, with nanoseconds: pcap-savefile(5).
//
// Frames are written once a turn of the loop. A reader of a FIFO that is too slow, or a full disk, costs frames in the
// file, never the guest's. What the host is to checksum or cut to size is in the file as the guest sent it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/net/net_backend.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class Pcap : public NetBackend {
 public:
  // Throws Error when the file cannot be written.
  Pcap(EventLoop& loop, std::unique_ptr<NetBackend> network, const std::string& path);
  Pcap(const Pcap&) = delete;
  Pcap& operator=(const Pcap&) = delete;
  ~Pcap() override;

  uint64_t dropped() const { return dropped_; }  // frames that are not in the file

  std::string describe() const override { return network_->describe(); }
  size_t queues() const override { return network_->queues(); }
  uint64_t offloads() const override { return network_->offloads(); }
  uint16_t mtu() const override { return network_->mtu(); }
  bool link_up() const override { return network_->link_up(); }
  void attach(NetClient* client) override { network_->attach(client); }
  void configure(uint64_t guest_offloads, size_t queues_used) override {
    network_->configure(guest_offloads, queues_used);
  }
  std::optional<size_t> receive(size_t queue, std::span<const iovec> room) override;
  bool send(size_t queue, std::span<const iovec> frame) override;

 private:
  static constexpr size_t kPending = 1 << 20;

  void record(std::span<const iovec> frame, size_t length);
  void flush();

  EventLoop& loop_;
  std::unique_ptr<NetBackend> network_;
  const std::string path_;
  UniqueFd file_;
  std::vector<std::byte> pending_;
  bool flush_scheduled_ = false;
  uint64_t dropped_ = 0;

  // Callbacks queued in the loop may outlive the backend: they hold this weakly.
  std::shared_ptr<Pcap*> self_;
};

}  // namespace vmm
