// virtio-vsock between a driver and hosts without sense. The headers are often almost right, so that connections come
// about.
#include "devices/virtio/vsock.h"
#include "tests/fuzz/fuzz_driver.h"
#include "tests/support/unix_ends.h"

namespace {

using namespace vmm;
using namespace vmm::test;

constexpr uint32_t kCid = 3;
constexpr size_t kMaxEnds = 64;

struct FuzzVsock : VsockBackend {
  explicit FuzzVsock(EventLoop& its_loop) : events(its_loop) {}
  std::string describe() const override { return "fuzz"; }
  uint32_t cid() const override { return kCid; }
  EventLoop& loop() override { return events; }
  void attach(OnClient callback) override { on_client = std::move(callback); }
  std::unique_ptr<VsockStream> connect(uint32_t port) override {
    if (port % 4 == 3 || ends.size() >= kMaxEnds) return nullptr;
    StreamPair pair;
    ends.push_back(std::move(pair.host));
    return std::make_unique<VsockStream>(events, std::move(pair.ours));
  }

  EventLoop& events;
  OnClient on_client;
  std::vector<HostEnd> ends;
};

// A packet for one of a few connections, in the guest's memory where descriptors tend to point.
virtio_vsock_hdr make_header(FuzzInput& input) {
  virtio_vsock_hdr header = {};
  header.src_cid = kCid;
  header.dst_cid = 2;
  header.src_port = static_cast<uint32_t>(input.take_below(4));
  header.dst_port = static_cast<uint32_t>(input.take_below(8)) + (input.take_bool() ? 1u << 30 : 0u);
  header.len = input.take_bool() ? input.take<uint32_t>() : static_cast<uint32_t>(input.take_below(100));
  header.type = VIRTIO_VSOCK_TYPE_STREAM;
  header.op = static_cast<uint16_t>(input.take_below(9));
  header.flags = input.take<uint8_t>();
  header.buf_alloc = input.take<uint16_t>();
  header.fwd_cnt = input.take_bool() ? input.take<uint32_t>() : 0;
  return header;
}

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  FuzzVsock backend(host.loop());
  FuzzDriver driver(input, host, std::make_unique<VirtioVsock>(backend));
  while (input.next_step()) {
    HostEnd* end = backend.ends.empty() ? nullptr : &backend.ends[input.take_below(backend.ends.size())];
    switch (input.take_below(10)) {
      case 0:
        if (auto stream = backend.connect(0); stream) backend.on_client(std::move(stream), input.take<uint8_t>() % 4u);
        break;
      case 1:
        if (end != nullptr && end->connected()) end->send(std::string(input.take_below(200), 'x'));
        break;
      case 2:
        if (end != nullptr && end->connected()) end->receive();
        break;
      case 3:
        if (end != nullptr) input.take_bool() ? end->close() : end->end_output();
        break;
      case 4:
      case 5:
        driver.send_value(1, make_header(input));
        break;
      default:
        driver.step(input);
    }
    host.loop().run_ready();
  }
}
