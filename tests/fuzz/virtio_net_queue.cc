// virtio-net with two pairs of queues and its control queue, between a driver and a network without sense.
#include "devices/virtio/net.h"
#include "tests/fuzz/fuzz_driver.h"
#include "tests/support/fake_net_backend.h"

void vmm::test::fuzz(FuzzInput& input) {
  // Checksums and segmentation, both ways, with UDP.
  constexpr uint64_t kOffloads = uint64_t{0x3b83} | uint64_t{7} << VIRTIO_NET_F_GUEST_USO4;
  FakeDeviceHost host;
  FakeNetBackend network(2, kOffloads);
  FuzzDriver driver(input, host,
                    std::make_unique<VirtioNet>(
                        network, MacAddress{{2, 0, 0, 0, 0, 1}},
                        input.take_bool() ? VirtioNet::SourceFilter::kOn : VirtioNet::SourceFilter::kOff, "0"));
  while (input.next_step()) {
    const size_t queue = input.take_below(2);
    switch (input.take_below(8)) {
      case 0: {
        const auto bytes = input.take_bytes(input.take_below(200));
        std::string frame(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (input.take_bool()) frame.resize(input.take_below(kMaxFrame), 'x');
        network.arrive_raw(frame, queue);
        break;
      }
      case 1:
        network.room = input.take_bool();
        network.client->room_made(queue);
        break;
      case 2:
        network.set_link(input.take_bool());
        break;
      default:
        driver.step(input);
    }
    host.loop().run_ready();
    for (const std::string& frame : network.sent) require(frame.size() >= kNetHeader + kEthernetHeader);
    network.sent.clear();
  }
}
