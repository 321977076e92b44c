// VsockBackend: who a guest's vsock can talk to, as its device sees it. All calls are made on the loop, none blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "devices/backends/vsock/vsock_stream.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class VsockBackend {
 public:
  using OnClient = std::function<void(std::unique_ptr<VsockStream> client, uint32_t port)>;

  virtual ~VsockBackend() = default;

  virtual std::string describe() const = 0;  // "vm.sock (cid 3)": for messages
  virtual uint32_t cid() const = 0;          // the guest's
  virtual EventLoop& loop() = 0;

  // Somebody of the host wants to be connected to this port of the guest. Null: they are turned away.
  virtual void attach(OnClient on_client) = 0;
  // The guest wants to be connected to this port of the host. Null: nobody listens there.
  virtual std::unique_ptr<VsockStream> connect(uint32_t port) = 0;
};

}  // namespace vmm
