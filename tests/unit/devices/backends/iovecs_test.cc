// Arithmetic on scatter lists.
#include "devices/backends/iovecs.h"

#include <catch2/catch.hpp>
#include <climits>
#include <string>

using namespace vmm;

namespace {

struct Lists {
  std::string first = "abc";
  std::string second = "defgh";
  std::vector<iovec> list{{first.data(), 3}, {nullptr, 0}, {second.data(), 5}};
};

std::string text_of(std::span<const iovec> list) {
  std::string text(total_size(list), '?');
  gather(list, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace

TEST_CASE("iovecs: the size is the sum", "[backends][iovecs]") {
  Lists l;
  CHECK(total_size(l.list) == 8);
  CHECK(total_size({}) == 0);
}

TEST_CASE("iovecs: dropping cuts through a buffer", "[backends][iovecs]") {
  Lists l;
  CHECK(text_of(drop_front(l.list, 5)) == "fgh");
}

TEST_CASE("iovecs: dropping whole buffers leaves no empty one in front", "[backends][iovecs]") {
  Lists l;
  const auto rest = drop_front(l.list, 3);
  CHECK(rest.size() == 1);
  CHECK(text_of(rest) == "defgh");
}

TEST_CASE("iovecs: dropping everything leaves nothing", "[backends][iovecs]") {
  Lists l;
  CHECK(drop_front(l.list, 8).empty());
}

TEST_CASE("iovecs: the front is a list of its own", "[backends][iovecs]") {
  Lists l;
  CHECK(text_of(copy_front(l.list, 5)) == "abcde");
  CHECK(text_of(copy_front(l.list, 100)) == "abcdefgh");
  CHECK(text_of(l.list) == "abcdefgh");
}

TEST_CASE("iovecs: the front has at most as many buffers as a system call takes", "[backends][iovecs]") {
  char byte = 'x';
  const std::vector<iovec> list(IOV_MAX + 10, iovec{&byte, 1});
  CHECK(copy_front(list, list.size()).size() == IOV_MAX);
}

TEST_CASE("iovecs: scattering fills the buffers in order and no further", "[backends][iovecs]") {
  Lists l;
  const std::string text = "12345";
  scatter(std::as_bytes(std::span(text)), l.list);
  CHECK(l.first == "123");
  CHECK(l.second == "45fgh");
}
