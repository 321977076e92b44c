// A hierarchy of cgroups, as files in a folder.
#include "vmm/control/matrix/cgroup_room.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Hierarchy {
  Hierarchy() { std::filesystem::create_directories(mount("ci/job")); }
  TempDirectory mount;
  CgroupRoom room() const { return cgroup_room(mount(""), "ci/job"); }
};

}  // namespace

TEST_CASE("cgroup room: without limits there is no end of it", "[matrix]") {
  Hierarchy h;
  h.mount.file("ci/job/memory.max", "max\n");
  h.mount.file("ci/job/memory.current", "4096\n");
  h.mount.file("ci/job/cpu.max", "max 100000\n");
  CHECK(h.room() == CgroupRoom{});
}

TEST_CASE("cgroup room: memory is what is left until the nearest limit, an ancestor's included", "[matrix]") {
  Hierarchy h;
  h.mount.file("ci/memory.max", "1000000\n");
  h.mount.file("ci/memory.current", "900000\n");
  h.mount.file("ci/job/memory.max", "500000\n");
  h.mount.file("ci/job/memory.current", "100000\n");
  CHECK(h.room().memory == 100'000);
}

TEST_CASE("cgroup room: files that the kernel keeps in memory take none of it", "[matrix]") {
  Hierarchy h;
  h.mount.file("ci/job/memory.max", "1000000\n");
  h.mount.file("ci/job/memory.current", "1000000\n");
  h.mount.file("ci/job/memory.stat",
               "anon 100000\nfile 900000\nshmem 50000\ninactive_file 600000\nactive_file 250000\n");
  CHECK(h.room().memory == 850'000);
}

TEST_CASE("cgroup room: a group beyond its limit has none left", "[matrix]") {
  Hierarchy h;
  h.mount.file("ci/job/memory.max", "1000\n");
  h.mount.file("ci/job/memory.current", "2000\n");
  CHECK(h.room().memory == 0);
}

TEST_CASE("cgroup room: CPUs are rounded up, to at least one", "[matrix]") {
  Hierarchy h;
  h.mount.file("ci/cpu.max", "250000 100000\n");
  CHECK(h.room().cpus == 3);
  h.mount.file("ci/job/cpu.max", "5000 100000\n");
  CHECK(h.room().cpus == 1);
}
