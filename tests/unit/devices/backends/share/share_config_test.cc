// What --share says.
#include "devices/backends/share/share_config.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {
ShareConfig parse(const std::string& text) { return ShareConfig::parse("--share", text); }
}  // namespace

TEST_CASE("share: directory, tag and ro", "[share]") {
  CHECK(parse("/srv").path == "/srv");
  CHECK(parse("/srv").tag.empty());
  CHECK_FALSE(parse("/srv").read_only);
  const ShareConfig full = parse("/srv/a:b:data,ro");
  CHECK(full.path == "/srv/a:b");
  CHECK(full.tag == "data");
  CHECK(full.read_only);
}

TEST_CASE("share: a directory that has a colon in its name is shared", "[share]") {
  const TempDirectory place;
  std::filesystem::create_directory(place("a:b"));
  CHECK(parse(place("a:b")).path == place("a:b"));
  CHECK(parse(place("a:b") + ",ro").tag.empty());
  CHECK(parse(place("a:b:c")).path == place("a:b"));
  CHECK(parse(place("a/:b")).tag == "b");
}

TEST_CASE("share: a comma in the name is doubled", "[share]") {
  CHECK(parse("a,,b").path == "a,b");
  CHECK(parse("a,,ro,ro").path == "a,ro");
  CHECK(parse("a,,ro,ro").read_only);
}

TEST_CASE("share: what is wrong with it is said", "[share]") {
  CHECK_THROWS_WITH(parse(""), Contains("no directory"));
  CHECK_THROWS_WITH(parse(",ro"), Contains("no directory"));
  CHECK_THROWS_WITH(parse("a,rw"), Contains("'rw'"));
  const std::string tag = GENERATE(as<std::string>(), "", "a b", "a/b", std::string(37, 't'));
  CHECK_THROWS_WITH(parse("a:" + tag), Contains("is no tag"));
  CHECK_NOTHROW(parse("a:" + std::string(36, 't')));
}

TEST_CASE("share: a directory of another process is named by its socket", "[share]") {
  const ShareConfig config = parse("vhost-user=/run/a,,b:data");
  CHECK(config.socket == "/run/a,b");
  CHECK(config.path.empty());
  CHECK(config.tag == "data");
  CHECK(parse("vhost-user=s").tag.empty());
  CHECK_THROWS_WITH(parse("vhost-user=:tag"), Contains("no socket"));
  CHECK_THROWS_WITH(parse("vhost-user=s,ro"), Contains("'ro'"));
}
