// Where control sockets are, and who may listen there.
#include "vmm/control/socket/control_address.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A login of one's own.
struct Login {
  Login() { ::setenv("XDG_RUNTIME_DIR", folder.path().c_str(), 1); }
  ~Login() { ::unsetenv("XDG_RUNTIME_DIR"); }
  TempDirectory folder;
};

}  // namespace

TEST_CASE("control address: a name is a socket in the user's folder, a path is itself", "[control]") {
  const Login login;
  CHECK(control_path("ci-3") == login.folder("vmm/ci-3.sock"));
  CHECK(control_path("/run/x") == "/run/x");
  const std::string bad = GENERATE(as<std::string>(), "", ".", "..", "a b", "a\n", "\xff");
  CHECK_THROWS_WITH(control_path(bad), Contains("no machine can be called"));
}

TEST_CASE("control address: one machine at a time has a name", "[control]") {
  const Login login;
  const std::string path = control_path("a");
  std::optional<PathLock> first(claim_control_path(path));
  CHECK(std::filesystem::status(login.folder("vmm")).permissions() == std::filesystem::perms::owner_all);
  CHECK_THROWS_WITH(claim_control_path(path), Contains("a machine of this name is running"));
  first.reset();
  CHECK_FALSE(std::filesystem::exists(path + ".lock"));
  CHECK_NOTHROW(claim_control_path(path));
}

TEST_CASE("control address: a folder that others may write is not used", "[control]") {
  const Login login;
  std::filesystem::create_directory(login.folder("vmm"));
  ::chmod(login.folder("vmm").c_str(), 0777);
  CHECK_THROWS_WITH(claim_control_path(control_path("a")), Contains("not a folder of yours alone"));
  login.folder.file("vmm/a.sock", "");
  CHECK(control_names().empty());
}

TEST_CASE("control address: the names are those of the sockets there", "[control]") {
  const Login login;
  CHECK(control_names().empty());
  std::filesystem::create_directory(login.folder("vmm"));
  login.folder.file("vmm/b.sock", "");
  login.folder.file("vmm/a.sock", "");
  login.folder.file("vmm/a.sock.lock", "");
  CHECK(control_names() == std::vector<std::string>{"a", "b"});
}
