// virtio-fs: a chain is a request and the place of its answer.
#include "devices/virtio/fs.h"

#include <linux/fuse.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "devices/backends/iovecs.h"
#include "tests/support/driver_queue.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// Answers with the request, backwards.
class Echo : public ShareBackend {
 public:
  const std::string& tag() const override { return tag_; }
  std::string describe() const override { return "echo"; }
  Task<size_t> answer(std::span<const iovec> request, std::span<const iovec> reply) override {
    std::vector<std::byte> bytes(std::min(total_size(request), total_size(reply)));
    gather(request, bytes);
    std::ranges::reverse(bytes);
    scatter(bytes, reply);
    co_return bytes.size();
  }
  void reset() override { ++resets; }

  int resets = 0;

 private:
  std::string tag_ = "my-tag";
};

struct Fixture {
  Fixture() { host.loop().spawn(fs.serve(1, driver.device_side())); }
  FakeDeviceHost host;
  Echo echo;
  VirtioFs fs{echo};
  DriverQueue driver{host};
};

}  // namespace

TEST_CASE("virtio-fs: the configuration has the tag and one request queue", "[virtio][fs]") {
  Fixture f;
  std::array<std::byte, sizeof(virtio_fs_config)> bytes{};
  f.fs.read_config(0, bytes);
  virtio_fs_config config{};
  std::memcpy(&config, bytes.data(), sizeof config);
  CHECK(std::string(reinterpret_cast<const char*>(config.tag), sizeof config.tag) == "my-tag" + std::string(30, '\0'));
  CHECK(config.num_request_queues == 1);
  CHECK(f.fs.traits().queue_sizes.size() == 2);
}

TEST_CASE("virtio-fs: request and answer are spread over buffers", "[virtio][fs]") {
  Fixture f;
  f.driver.chain().readable(std::string("abc")).readable(std::string("defg")).writable(2).writable(10).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 7);
  const auto first = f.driver.bytes(used->writable[0]), second = f.driver.bytes(used->writable[1]);
  CHECK(first[0] == std::byte{'g'});
  CHECK(second[4] == std::byte{'a'});
}

TEST_CASE("virtio-fs: a request without room for an answer comes back", "[virtio][fs]") {
  Fixture f;
  f.driver.chain().readable(std::string("forget")).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 0);
}

TEST_CASE("virtio-fs: a reset makes the backend forget", "[virtio][fs]") {
  Fixture f;
  f.fs.reset();
  CHECK(f.echo.resets == 1);
}
