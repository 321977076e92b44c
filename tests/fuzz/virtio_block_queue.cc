// virtio-blk over storage that is slow or fails when the fuzzer says so. The storage itself looks whether it is ever
// asked for bytes that it does not have.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "devices/virtio/block.h"
#include "tests/fuzz/fuzz_driver.h"

namespace vmm::test {
namespace {

struct Temper {
  bool fails = false;
  bool slow = false;
};

class FuzzStorage : public BlockBackend {
 public:
  static constexpr uint64_t kSize = 1 << 20;

  FuzzStorage(EventLoop& loop, Temper& temper, bool read_only) : loop_(loop), temper_(temper), read_only_(read_only) {}

  std::string describe() const override { return "storage"; }
  uint64_t size() const override { return kSize; }
  bool read_only() const override { return read_only_; }
  BlockTopology topology() const override { return {}; }

  Task<int> read(uint64_t offset, std::span<iovec> to) override {
    check(offset, length_of(to));
    for (const iovec& part : to) std::memset(part.iov_base, 'r', part.iov_len);
    co_await Later{*this};
    co_return answer();
  }
  Task<int> write(uint64_t offset, std::span<iovec> from, Durability) override {
    require(!read_only_);
    check(offset, length_of(from));
    co_await Later{*this};
    co_return answer();
  }
  Task<int> flush() override {
    co_await Later{*this};
    co_return answer();
  }
  Task<int> discard(uint64_t offset, uint64_t length) override {
    require(!read_only_);
    check(offset, length);
    co_await Later{*this};
    co_return answer();
  }
  Task<int> write_zeroes(uint64_t offset, uint64_t length, Unmap) override { return discard(offset, length); }

 private:
  struct Later {
    FuzzStorage& storage;
    bool await_ready() const { return !storage.temper_.slow; }
    void await_suspend(std::coroutine_handle<> waiting) {
      storage.loop_.post([waiting] { waiting.resume(); });
    }
    void await_resume() {}
  };

  static uint64_t length_of(std::span<const iovec> parts) {
    uint64_t length = 0;
    for (const iovec& part : parts) length += part.iov_len;
    return length;
  }
  static void check(uint64_t offset, uint64_t length) { require(offset <= kSize && length <= kSize - offset); }
  int answer() const { return temper_.fails ? EIO : 0; }

  EventLoop& loop_;
  Temper& temper_;
  bool read_only_;
};

}  // namespace

void fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  Temper temper;
  FuzzStorage storage(host.loop(), temper, input.take_bool());
  const uint16_t queues = 2;
  FuzzDriver driver(input, host, std::make_unique<VirtioBlock>(storage, DiskConfig{.path = "disk"}, "vda", queues));
  while (input.next_step()) {
    if (input.take_below(16) == 0) temper = {input.take_bool(), input.take_bool()};
    driver.step(input);
  }
}

}  // namespace vmm::test
