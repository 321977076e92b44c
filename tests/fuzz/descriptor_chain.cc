// A virtqueue over memory full of anything. Chains are held as long as the fuzzer likes, and read and written at any
// offset; every one comes back to the used ring exactly once.
#include "devices/virtio/descriptor_chain.h"

#include <deque>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtqueue.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_device_host.h"

namespace vmm::test {
namespace {

constexpr uint64_t kDescriptors = 0x1000, kAvailable = 0x2000, kUsed = 0x3000;

void use(FuzzInput& input, DescriptorChain& chain) {
  std::array<std::byte, 256> data{};
  const auto part = std::span(data).first(input.take_below(data.size() + 1));
  switch (input.take_below(3)) {
    case 0: {
      const size_t offset = input.take<uint32_t>();
      const size_t read = chain.read_at(offset, part);
      require(read == std::min(part.size(), chain.readable_size() - std::min(chain.readable_size(), offset)));
      break;
    }
    case 1:
      chain.write_at(input.take<uint32_t>(), part);
      break;
    default:
      chain.write(part);
      require(chain.written() <= chain.writable_size());
  }
}

}  // namespace

void fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  const GuestMemory& memory = host.memory();
  EventFd kick;
  const VirtqueueConfig config{.size = static_cast<uint16_t>(1u << input.take_below(7)),
                               .descriptors = {kDescriptors},
                               .available = {kAvailable},
                               .used = {kUsed},
                               .event_index = input.take_bool(),
                               .indirect = input.take_bool()};
  const auto queue = Virtqueue::create(
      memory, host.loop(), kick, config, [] {}, [](const char*) {});
  require(queue != nullptr);

  std::deque<DescriptorChain> held;
  uint16_t available = 0;
  while (input.next_step()) {
    switch (input.take_below(8)) {
      case 0:
      case 1:
        memory.write_value(GuestAddress{kDescriptors + 16 * input.take_below(config.size)}, input.take<vring_desc>());
        break;
      case 2:  // a descriptor that is probably sound
        memory.write_value(GuestAddress{kDescriptors + 16 * input.take_below(config.size)},
                           vring_desc{uint64_t{0x10000} + input.take<uint16_t>(), input.take<uint16_t>(),
                                      static_cast<uint16_t>(input.take_below(8)),
                                      static_cast<uint16_t>(input.take_below(config.size))});
        break;
      case 3:  // an indirect table, or anything else in reach
        memory.write(GuestAddress{uint64_t{input.take<uint16_t>()} * 4}, input.take_bytes(input.take_below(64)));
        break;
      case 4: {
        const uint64_t slot = kAvailable + 4 + 2u * (available % config.size);
        memory.write_value(GuestAddress{slot}, static_cast<uint16_t>(input.take_below(config.size + 1u)));
        memory.write_value(GuestAddress{kAvailable + 2}, ++available);
        break;
      }
      case 5:
        if (auto chain = queue->try_next()) held.push_back(std::move(*chain));
        break;
      case 6:
        if (!held.empty()) use(input, held[input.take_below(held.size())]);
        break;
      default:
        if (!held.empty()) held.pop_front();
        host.loop().run_ready();
    }
    require(held.size() <= config.size);
    require(queue->busy() == !held.empty());
  }
  queue->stop();
  held.clear();
  require(!queue->busy());
  host.loop().run_ready();
}

}  // namespace vmm::test
