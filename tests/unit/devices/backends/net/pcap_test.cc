// A capture, byte by byte.
#include "devices/backends/net/pcap.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <ctime>

#include "tests/support/descriptors.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/net_end.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

const std::string kNoHeader(kNetHeader, '\0');

uint32_t word(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Fixture {
  explicit Fixture(const std::string& path)
      : network(new FakeNetBackend), pcap(loop, std::unique_ptr<NetBackend>(network), path) {}
  EventLoop loop;
  FakeNetBackend* network;
  Pcap pcap;
};

}  // namespace

TEST_CASE("pcap: what passes both ways is in the file, without our header", "[net][pcap]") {
  TempDirectory folder;
  Fixture f(folder("net.pcap"));
  const std::string out = ethernet("aaaaaa", "bbbbbb", 60), in = ethernet("bbbbbb", "aaaaaa", 61);
  CHECK(send(f.pcap, kNoHeader + out));
  f.network->arrive(in);
  CHECK(receive(f.pcap) == kNoHeader + in);
  CHECK(f.network->sent == std::vector<std::string>{kNoHeader + out});
  f.loop.run_ready();
  const std::string file = contents(folder("net.pcap"));
  REQUIRE(file.size() == 24 + 16 + 60 + 16 + 61);
  CHECK(word(file, 0) == 0xa1b23c4d);
  CHECK(word(file, 4) == 0x00040002);
  CHECK(word(file, 20) == 1);
  CHECK(std::abs(static_cast<int64_t>(word(file, 24)) - std::time(nullptr)) < 60);
  CHECK(word(file, 28) < 1'000'000'000);
  CHECK(word(file, 32) == 60);
  CHECK(word(file, 36) == 60);
  CHECK(file.substr(40, 60) == out);
  CHECK(file.substr(116) == in);
}

TEST_CASE("pcap: a frame that was not taken is not in the file", "[net][pcap]") {
  TempDirectory folder;
  Fixture f(folder("net.pcap"));
  f.network->room = false;
  CHECK_FALSE(send(f.pcap, kNoHeader + ethernet("aaaaaa", "bbbbbb", 60)));
  CHECK(receive(f.pcap) == "nothing");
  f.loop.run_ready();
  CHECK(contents(folder("net.pcap")).size() == 24);
}

TEST_CASE("pcap: a FIFO that nobody empties costs frames in it, not the guest's", "[net][pcap]") {
  TempDirectory folder;
  REQUIRE(::mkfifo(folder("fifo").c_str(), 0600) == 0);
  const UniqueFd reader(::open(folder("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  Fixture f(folder("fifo"));
  const std::string frame = kNoHeader + ethernet("aaaaaa", "bbbbbb", 60000);
  for (int i = 0; i < 40; ++i) {
    CHECK(send(f.pcap, frame));
    f.loop.run_ready();
  }
  CHECK(f.pcap.dropped() > 0);
  CHECK(f.network->sent.size() == 40);
}

TEST_CASE("pcap: a reader that goes, or a full disk, ends the capture and nothing else", "[net][pcap]") {
  Fixture f("/dev/full");
  CHECK(send(f.pcap, kNoHeader + ethernet("aaaaaa", "bbbbbb", 60)));
  f.loop.run_ready();
  CHECK(f.network->sent.size() == 1);
}

TEST_CASE("pcap: a file that cannot be written is refused", "[net][pcap]") {
  TempDirectory folder;
  CHECK_THROWS_AS(Fixture(folder("no/such/folder")), Error);
}
