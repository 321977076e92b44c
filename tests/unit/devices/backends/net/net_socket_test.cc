// Two ends that find each other.
#include "devices/backends/net/net_socket.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "devices/backends/disk/path_lock.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/net_end.h"
#include "tests/support/temp_file.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

const std::string kOne("\x52\x54\0\0\0\x01", 6);
const std::string kTwo("\x52\x54\0\0\0\x02", 6);
const std::string kNoHeader(kNetHeader, '\0');

std::unique_ptr<StreamNet> open(EventLoop& loop, const std::string& path) {
  return std::make_unique<StreamNet>(loop, open_net_socket(loop, path));
}

}  // namespace

TEST_CASE("net socket: who comes first listens, the second connects, and frames pass both ways", "[net]") {
  TempDirectory folder;
  EventLoop loop;
  const auto first = open(loop, folder("net"));
  CHECK_FALSE(first->link_up());
  const auto second = open(loop, folder("net"));
  CHECK(wait_until(loop, [&] { return first->link_up() && second->link_up(); }));
  const std::string frame = kNoHeader + ethernet(kOne, kTwo, 60);
  CHECK(send(*first, frame));
  CHECK(wait_until(loop, [&] { return receive(*second) == frame; }));
  CHECK(send(*second, frame));
  CHECK(wait_until(loop, [&] { return receive(*first) == frame; }));
}

TEST_CASE("net socket: whichever end goes, a new one finds the other", "[net]") {
  const bool listener_goes = GENERATE(true, false);
  TempDirectory folder;
  EventLoop loop;
  auto first = open(loop, folder("net"));
  auto second = open(loop, folder("net"));
  CHECK(wait_until(loop, [&] { return first->link_up() && second->link_up(); }));
  auto& gone = listener_goes ? first : second;
  auto& stays = listener_goes ? second : first;
  gone.reset();
  CHECK(wait_until(loop, [&] { return receive(*stays) == "nothing" && !stays->link_up(); }));
  gone = open(loop, folder("net"));
  CHECK(wait_until(loop, [&] { return gone->link_up() && stays->link_up(); }));
}

TEST_CASE("net socket: a socket that was left behind is taken over, and one of ours is not left behind", "[net]") {
  TempDirectory folder;
  EventLoop loop;
  {
    const auto left = open(loop, folder("net"));
    std::filesystem::rename(folder("net"), folder("stale"));
  }
  std::filesystem::rename(folder("stale"), folder("net"));
  const auto first = open(loop, folder("net"));
  auto second = open(loop, folder("net"));
  CHECK(wait_until(loop, [&] { return first->link_up() && second->link_up(); }));
  {
    const auto other = open(loop, folder("other"));
    CHECK(std::filesystem::exists(folder("other")));
  }
  CHECK_FALSE(std::filesystem::exists(folder("other")));
}

TEST_CASE("net socket: what is no place for a socket is refused", "[net]") {
  TempDirectory folder;
  EventLoop loop;
  CHECK_THROWS_AS(open(loop, folder.file("file", "content")), Error);
  CHECK_THROWS_AS(open(loop, folder("no/such/folder")), Error);
  CHECK_THROWS_AS(open(loop, folder(std::string(200, 'x'))), Error);
}

TEST_CASE("net socket: a dead one is left alone while somebody else decides about it", "[net]") {
  TempDirectory folder;
  {
    EventLoop loop;
    const auto left = open(loop, folder("net"));
    std::filesystem::rename(folder("net"), folder("stale"));
  }
  std::filesystem::rename(folder("stale"), folder("net"));
  std::optional<PathLock> lock = PathLock::try_take("test", folder("net"));
  REQUIRE(lock);
  std::atomic<bool> listens = false, up = false;
  std::thread other([&] {
    EventLoop loop;
    const auto first = open(loop, folder("net"));
    listens = true;
    up = wait_until(loop, [&] { return first->link_up(); });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_FALSE(listens);
  lock.reset();
  EventLoop loop;
  const auto second = open(loop, folder("net"));
  other.join();
  CHECK(up);
}

TEST_CASE("net socket: two that find the same dead one at once find each other", "[net]") {
  TempDirectory folder;
  for (unsigned round = 0; round < 20; ++round) {
    {
      EventLoop loop;
      const auto left = open(loop, folder("net"));
      std::filesystem::rename(folder("net"), folder("stale"));
    }
    std::filesystem::rename(folder("stale"), folder("net"));
    std::atomic<unsigned> up = 0;
    const auto meet = [&] {
      EventLoop loop;
      const auto end = open(loop, folder("net"));
      if (wait_until(loop, [&] { return end->link_up(); })) ++up;
      wait_until(loop, [&] { return up == 2; });
    };
    std::thread one(meet), two(meet);
    one.join();
    two.join();
    REQUIRE(up == 2);
  }
}
