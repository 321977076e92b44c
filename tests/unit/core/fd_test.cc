// Descriptors with an owner, and eventfds.
#include "vmm/core/fd.h"

#include <catch2/catch.hpp>
#include <cstdint>

#include "tests/support/descriptors.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("unique fd: closes what it owns, once, and moves it", "[core]") {
  Pipe pipe;
  const int fd = pipe.read.get();
  UniqueFd owner = std::move(pipe.read);
  CHECK_FALSE(pipe.read);
  CHECK(is_open(fd));
  owner = UniqueFd();
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("event fd: is signalled until drained, however often it was", "[core]") {
  const EventFd event;
  CHECK_FALSE(event.drain());
  event.signal();
  event.signal();
  CHECK(event.drain());
  CHECK_FALSE(event.drain());
}

TEST_CASE("event fd: signalling one whose counter is full neither blocks nor clears it", "[core]") {
  const EventFd event;
  const uint64_t full = UINT64_MAX - 1;
  CHECK(::write(event.fd(), &full, sizeof full) == sizeof full);
  event.signal();
  CHECK(event.drain());
}

TEST_CASE("event fd: with no descriptor left it is refused with a fix", "[core]") {
  std::string fix;
  try {
    const NoDescriptorsLeft none;
    EventFd();
  } catch (const Error& error) {
    fix = error.fix();
  }
  CHECK_THAT(fix, Catch::Contains("ulimit -n"));
}
