// VsockHost: a guest's vsock as Unix sockets of the host, by the convention of Firecracker and Cloud Hypervisor.
//
//   to the guest    connect to PATH, write "CONNECT PORT\n"; when the guest accepts, "OK HOST-PORT\n" is the answer
//   from the guest  a connection to CID 2, port P goes to the Unix socket PATH_P, where somebody must be listening
//
// Clients that have not yet said what they want are each on their own: a slow, silent or senseless one is closed, and
// delays nobody.
#pragma once

#include <list>
#include <optional>
#include <string>

#include "devices/backends/vsock/vsock_backend.h"
#include "devices/backends/vsock/vsock_config.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class VsockHost : public VsockBackend {
 public:
  static constexpr std::chrono::milliseconds kPatience{10'000};  // time for a client to say its line
  static constexpr size_t kMaxClients = 256;  // clients that have not said it; more wait to be accepted

  // Listens. Throws Error when it cannot.
  VsockHost(EventLoop& loop, const VsockConfig& config, std::chrono::milliseconds patience = kPatience);
  VsockHost(const VsockHost&) = delete;
  VsockHost& operator=(const VsockHost&) = delete;
  ~VsockHost() override;

  size_t waiting_clients() const { return clients_.size(); }

  std::string describe() const override;
  uint32_t cid() const override { return config_.cid; }
  EventLoop& loop() override { return loop_; }
  void attach(OnClient on_client) override { on_client_ = std::move(on_client); }
  std::unique_ptr<VsockStream> connect(uint32_t port) override;

 private:
  struct Client {
    UniqueFd socket;
    std::string line;
    std::optional<FdWatch> readable;
    std::optional<Timer> deadline;
  };
  using Clients = std::list<Client>;

  void accept();
  void read_line(Clients::iterator client);
  void close(Clients::iterator client);

  EventLoop& loop_;
  const VsockConfig config_;
  const std::chrono::milliseconds patience_;
  OnClient on_client_;
  Clients clients_;
  UniqueFd listener_;
  FdWatch incoming_;
  Timer retry_;
};

}  // namespace vmm
