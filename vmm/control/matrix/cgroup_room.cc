// memory.max, memory.current, memory.stat and cpu.max (Documentation/admin-guide/cgroup-v2.rst of Linux); see
// cgroup_room.h.
#include "vmm/control/matrix/cgroup_room.h"

#include <algorithm>
#include <fstream>

namespace vmm {

namespace {

// Numbers in the first line of a file; "max" and all else that is none limits nothing.
template <typename... Numbers>
bool read_numbers(const std::string& path, Numbers&... numbers) {
  std::ifstream file(path);
  return static_cast<bool>((file >> ... >> numbers));
}

// Bytes of files that the kernel keeps in memory, and gives up before anybody meets the limit.
uint64_t page_cache(const std::string& folder) {
  uint64_t sum = 0, bytes = 0;
  std::ifstream file(folder + "/memory.stat");
  for (std::string key; file >> key >> bytes;) {
    if (key == "active_file" || key == "inactive_file") sum += bytes;
  }
  return sum;
}

void narrow(CgroupRoom& room, const std::string& folder) {
  uint64_t most = 0, used = 0;
  if (read_numbers(folder + "/memory.max", most) && read_numbers(folder + "/memory.current", used)) {
    used -= std::min(used, page_cache(folder));
    room.memory = std::min(room.memory, most > used ? most - used : 0);
  }
  uint64_t quota = 0, period = 0;
  if (read_numbers(folder + "/cpu.max", quota, period) && period > 0) {
    const uint64_t cpus = std::max<uint64_t>(1, quota / period + (quota % period != 0 ? 1 : 0));
    room.cpus = static_cast<unsigned>(std::min<uint64_t>(room.cpus, cpus));
  }
}

}  // namespace

CgroupRoom cgroup_room(const std::string& mount, std::string group) {
  CgroupRoom room;
  for (;;) {
    narrow(room, mount + group);
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos || group.size() <= 1) return room;
    group.resize(slash);
  }
}

CgroupRoom own_cgroup_room() {
  constexpr std::string_view kUnified = "0::";  // cgroups(7)
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kUnified)) return cgroup_room("/sys/fs/cgroup", line.substr(kUnified.size()));
  }
  return {};
}

}  // namespace vmm
