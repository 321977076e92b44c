// CgroupRoom: what cgroups leave a process of the host, for a budget that fits into a container or a CI job.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace vmm {

struct CgroupRoom {
  uint64_t memory = std::numeric_limits<uint64_t>::max();  // bytes until the nearest memory.max
  unsigned cpus = std::numeric_limits<unsigned>::max();    // by the least cpu.max, rounded up

  bool operator==(const CgroupRoom&) const = default;
};

// The room of `group` ("/ci/job-7") in the cgroup v2 hierarchy mounted at `mount`: the least of it and its ancestors.
// Files that are missing limit nothing.
CgroupRoom cgroup_room(const std::string& mount, std::string group);
// Room of this process's own group. Where there is no cgroup v2 nothing is limited.
CgroupRoom own_cgroup_room();

}  // namespace vmm
