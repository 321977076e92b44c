// Two ends that find each other.
#include "devices/backends/net_socket.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

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

TEST_CASE("net socket: a socket that was left behind is taken over, and one of ours is not left behind (F7)", "[net]") {
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

TEST_CASE("net socket: a file of somebody's beside it is not taken for one of ours", "[net]") {
  TempDirectory folder;
  EventLoop loop;
  const std::string beside = folder.file("net." + std::to_string(::getpid()), "content");
  CHECK_THROWS_AS(open(loop, folder("net")), Error);
  CHECK(std::filesystem::file_size(beside) == 7);
}
