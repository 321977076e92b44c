// Every kind in the device table, through the same trials: a driver that behaves, one that does not, and one that goes
// away in the middle.
#include "vmm/machine/device_table.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <thread>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/support/fake_device_host.h"
#include "tests/support/kernel_builder.h"
#include "tests/support/temp_file.h"
#include "tests/support/transport_driver.h"
#include "vmm/machine/backends.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kRings = 0x10000;  // in guest memory, 64 KiB for each queue
constexpr uint16_t kSize = 8;

// A machine with one of everything, but for the machine: only the devices of one kind, on a bus.
class Bench : public TransportDriver {
 public:
  explicit Bench(const DeviceKind& kind) : backends_(host_.loop(), config()) {
    auto devices = kind.make(config_, backends_);
    REQUIRE(devices.size() == 1);
    transport_ = std::make_unique<VirtioPci>(host_, std::move(devices.front()));
    transport_->plug(bus, kBar, nullptr, 0);
  }
  ~Bench() {
    bool stopped = false;
    transport_->stop([&] { stopped = true; });
    while (!stopped) settle();
  }

  // Runs the loop until the device is quiet, disk requests included.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      host_.loop().run_ready();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  uint16_t queues() { return read<uint16_t>(VIRTIO_PCI_COMMON_NUMQ); }

  // Accepts all features, or only VERSION_1, and starts every queue.
  void start(bool all_features) {
    negotiate(all_features ? offered_features() : feature(VIRTIO_F_VERSION_1));
    for (uint16_t queue = 0; queue < queues(); ++queue) set_queue(queue, kSize, ring(queue));
    set_status(kAgreed | VIRTIO_CONFIG_S_DRIVER_OK);
    settle();
  }
  void reset() {
    write<uint8_t>(VIRTIO_PCI_COMMON_STATUS, 0);
    // A backend's thread may take its time.
    for (int i = 0; i < 1000 && status() != 0; ++i) settle();
    for (uint16_t queue = 0; queue < queues(); ++queue) host_.memory().slice({ring(queue)}, 0x3000)->fill(std::byte{0});
  }

  static uint64_t ring(uint16_t queue) { return kRings + uint64_t{queue} * 0x10000; }
  void descriptor(uint16_t queue, uint16_t slot, const vring_desc& value) {
    host_.memory().write_value(GuestAddress{ring(queue) + slot * sizeof value}, value);
  }
  // Makes heads 0..count-1 available, and rings.
  void publish(uint16_t queue, uint16_t count) {
    for (uint16_t i = 0; i < count; ++i) host_.memory().write_value(GuestAddress{ring(queue) + 0x1004 + 2u * i}, i);
    host_.memory().write_value(GuestAddress{ring(queue) + 0x1002}, count);
    ring_doorbell(queue);
  }

  FakeDeviceHost& host() { return host_; }
  const MachineConfig& wanting() const { return config_; }

 private:
  const MachineConfig& config() {
    config_.kernel = files_.file("kernel", flat_multiboot({.load_addr = 1 << 20}, "code"));
    config_.disks.push_back(DiskConfig::parse(files_.file("disk", std::string(1 << 20, 'd'))));
    config_.nets.push_back(NetConfig::parse("socket=" + files_("net")));
    config_.shares = {{.path = files_("."), .tag = "share"}};
    config_.balloon = BalloonConfig{.size = 1 << 20};
    config_.vsock = VsockConfig::parse(files_("vsock"));
    config_.serial.push_back(CharConfig::parse("null"));
    config_.consoles = {CharConfig::parse("null"), CharConfig::parse("null")};
    return config_;
  }

  TempDirectory files_;
  MachineConfig config_;
  FakeDeviceHost host_;
  Backends backends_;
  std::unique_ptr<VirtioPci> transport_;
};

DeviceKind any_kind() {
  const auto table = device_table();
  return table[GENERATE_COPY(range(size_t{0}, device_table().size()))];
}

}  // namespace

TEST_CASE("every device: a driver gets it going, with all features and with none", "[conformance]") {
  const bool all_features = GENERATE(true, false);
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name, all_features);
  Bench bench(kind);
  bench.start(all_features);
  CHECK(bench.status() == (TransportDriver::kAgreed | VIRTIO_CONFIG_S_DRIVER_OK));
}

TEST_CASE("every device: it is wanted by a configuration that asks for it, and by no empty one", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  const Bench bench(kind);
  CHECK(kind.wanted(bench.wanting()));
  MachineConfig nothing;
  nothing.rng = false;
  CHECK_FALSE(kind.wanted(nothing));
}

TEST_CASE("every device: reset forgets everything, again and again", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  Bench bench(kind);
  for (int i = 0; i < 50; ++i) {
    bench.start(i % 2 == 0);
    bench.reset();
    REQUIRE(bench.status() == 0);
  }
  bench.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, 0);
  CHECK(bench.read<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE) == 0);
  CHECK(bench.read<uint32_t>(VIRTIO_PCI_COMMON_Q_DESCLO) == 0);
}

TEST_CASE("every device: a chain of empty buffers comes back or waits, and a reset takes it", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  Bench bench(kind);
  bench.start(true);
  for (uint16_t queue = 0; queue < bench.queues(); ++queue) {
    for (uint16_t i = 0; i < kSize; ++i) {
      bench.descriptor(
          queue, i,
          {.addr = 0x1000, .len = 0, .flags = static_cast<uint16_t>(i % 2 == 0 ? 0 : VRING_DESC_F_WRITE), .next = 0});
    }
    bench.publish(queue, kSize);
  }
  bench.settle();
  CHECK((bench.status() & VIRTIO_CONFIG_S_NEEDS_RESET) == 0);
  bench.reset();
  CHECK(bench.status() == 0);
}

TEST_CASE("every device: garbage chains never break it for the next driver", "[conformance]") {
  const DeviceKind kind = any_kind();
  const unsigned seed = GENERATE(range(1u, 6u));
  CAPTURE(kind.name, seed);
  Bench bench(kind);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 10; ++round) {
    bench.start(true);
    for (uint16_t queue = 0; queue < bench.queues(); ++queue) {
      for (uint16_t i = 0; i < kSize; ++i) {
        const bool inside = random() % 4 != 0;
        bench.descriptor(queue, i,
                         {.addr = inside ? 0x200000 + random() % 0x100000 : random(),
                          .len = static_cast<uint32_t>(random() % 3 == 0 ? random() : random() % 9000),
                          .flags = static_cast<uint16_t>(random() % 8),
                          .next = static_cast<uint16_t>(random() % (kSize + 2))});
      }
      bench.publish(queue, static_cast<uint16_t>(random() % (kSize + 1)));
    }
    bench.settle();
    bench.reset();
    REQUIRE(bench.status() == 0);
  }
}

TEST_CASE("every device: a reset while it is busy leaves guest memory alone afterwards", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  Bench bench(kind);
  bench.start(true);
  for (uint16_t queue = 0; queue < bench.queues(); ++queue) {
    for (uint16_t i = 0; i < kSize; ++i) {
      bench.descriptor(queue, i,
                       {.addr = 0x200000u + i * 0x1000u, .len = 0x1000, .flags = VRING_DESC_F_WRITE, .next = 0});
    }
    bench.publish(queue, kSize);
  }
  bench.reset();
  REQUIRE(bench.status() == 0);
  const auto buffers = bench.host().memory().slice({0x200000}, kSize * 0x1000);
  buffers->fill(std::byte{0x5a});
  bench.settle();
  std::vector<std::byte> after(buffers->size());
  buffers->copy_out(after);
  CHECK(std::ranges::count(after, std::byte{0x5a}) == static_cast<std::ptrdiff_t>(after.size()));
}

TEST_CASE("every device: a doorbell of a queue that is off does nothing", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  Bench bench(kind);
  const auto ring_all = [&bench] {
    for (uint16_t queue = 0; queue < 64; ++queue) bench.ring_doorbell(queue);
    bench.settle();
  };
  ring_all();
  CHECK(bench.status() == 0);
  // Everything is there but the word that the queues are on.
  bench.negotiate(feature(VIRTIO_F_VERSION_1));
  for (uint16_t queue = 0; queue < bench.queues(); ++queue) {
    bench.set_queue(queue, kSize, Bench::ring(queue), false);
    for (uint16_t i = 0; i < kSize; ++i) {
      bench.descriptor(queue, i,
                       {.addr = 0x200000u + i * 0x1000u, .len = 0x1000, .flags = VRING_DESC_F_WRITE, .next = 0});
    }
    bench.publish(queue, kSize);
  }
  const auto everything = bench.host().memory().slice({0}, 0x300000);
  std::vector<std::byte> before(everything->size()), after(everything->size());
  everything->copy_out(before);
  ring_all();
  bench.set_status(TransportDriver::kAgreed | VIRTIO_CONFIG_S_DRIVER_OK);
  ring_all();
  CHECK(bench.status() == (TransportDriver::kAgreed | VIRTIO_CONFIG_S_DRIVER_OK));
  everything->copy_out(after);
  CHECK(before == after);
}

TEST_CASE("every device: configuration reads are bounded", "[conformance]") {
  const DeviceKind kind = any_kind();
  CAPTURE(kind.name);
  Bench bench(kind);
  for (uint64_t offset = 0x2000; offset < 0x2200; ++offset) {
    bench.read<uint64_t>(offset);
    bench.write<uint64_t>(offset, ~uint64_t{0});
  }
  CHECK(bench.read<uint64_t>(0x2ff8) == 0);
}
