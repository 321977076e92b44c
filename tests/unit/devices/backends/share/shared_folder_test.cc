// The thread of a shared directory, and what cannot be shared.
#include "devices/backends/share/shared_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>

#include "tests/support/run_task.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Call {
  fuse_in_header header{.len = sizeof(fuse_in_header) + sizeof(fuse_init_in), .opcode = FUSE_INIT};
  fuse_init_in init{.major = 7, .minor = 31};
  std::array<char, 256> reply{};
  iovec in[2] = {{&header, sizeof header}, {&init, sizeof init}};
  iovec out[1] = {{reply.data(), reply.size()}};
};

}  // namespace

TEST_CASE("shared folder: a request is answered from a thread, on the loop", "[share]") {
  const TempDirectory place;
  EventLoop loop;
  SharedFolder folder(loop, {.path = place.path(), .tag = "tag"}, 16);
  Call call;
  CHECK(run_task(loop, folder.answer(call.in, call.out)) == sizeof(fuse_out_header) + sizeof(fuse_init_out));
  folder.reset();
  call.header.opcode = FUSE_STATFS;
  run_task(loop, folder.answer(call.in, call.out));
  fuse_out_header answer{};
  std::memcpy(&answer, call.reply.data(), sizeof answer);
  CHECK(answer.error == -EIO);  // after a reset nothing is mounted
}

TEST_CASE("shared folder: its thread leaves the process's umask alone", "[share]") {
  const TempDirectory place;
  EventLoop loop;
  const mode_t before = ::umask(027);
  {
    SharedFolder folder(loop, {.path = place.path(), .tag = "tag"}, 16);
    Call call;
    run_task(loop, folder.answer(call.in, call.out));
  }
  CHECK(::umask(before) == 027);
}

TEST_CASE("shared folder: what cannot be shared is refused at once", "[share]") {
  const TempFile file(1);
  EventLoop loop;
  const auto share = [&](const std::string& path) { SharedFolder(loop, {.path = path, .tag = "tag"}, 16); };
  CHECK_THROWS_WITH(share("/nonexistent"), Contains("cannot share '/nonexistent': No such file"));
  CHECK_THROWS_WITH(share(file.path()), Contains("Not a directory"));
  CHECK_THROWS_WITH(share("/proc"), Contains("the host kernel's own"));
}

TEST_CASE("shared folder: the budget of descriptors leaves some to others", "[share]") {
  const size_t one = SharedFolder::descriptor_budget(1);
  CHECK(one > 100);
  CHECK(SharedFolder::descriptor_budget(4) <= one / 4);
}
