// Who may decide about a path.
#include "devices/backends/disk/path_lock.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("path lock: one at a time has it, and it leaves nothing behind", "[socket]") {
  const TempDirectory files;
  std::optional<PathLock> first = PathLock::try_take("test socket", files("s"));
  REQUIRE(first);
  CHECK_FALSE(PathLock::try_take("test socket", files("s")));
  CHECK(PathLock::try_take("test socket", files("other")));
  first.reset();
  CHECK(std::filesystem::is_empty(files.path()));
  CHECK(PathLock::try_take("test socket", files("s")));
}

TEST_CASE("path lock: who waits gets it", "[socket]") {
  const TempDirectory files;
  std::optional<PathLock> first = PathLock::try_take("test socket", files("s"));
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    first.reset();
  });
  CHECK_NOTHROW(PathLock::take("test socket", files("s")));
  other.join();
}

TEST_CASE("path lock: somebody's file is not taken for one, nor removed", "[socket]") {
  const TempDirectory files;
  const std::string precious = files.file("s.lock", "precious");
  CHECK_THROWS_WITH(PathLock::try_take("test socket", files("s")), Contains("is in the way"));
  CHECK(std::filesystem::file_size(precious) == 8);
  std::filesystem::create_symlink(precious, files("t.lock"));
  CHECK_THROWS_AS(PathLock::try_take("test socket", files("t")), Error);
  CHECK_THROWS_WITH(PathLock::try_take("test socket", files("none/s")), Contains("its directory does not exist"));
}
