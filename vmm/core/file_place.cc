// Following a path, link by link; see file_place.h.
#include "vmm/core/file_place.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

namespace vmm {

namespace {

constexpr int kMaxLinks = 40;  // as many as the kernel follows

bool may_be_used(const struct stat& folder, const struct stat& file) {
  constexpr mode_t kForEverybody = S_ISVTX | S_IWOTH;
  if ((folder.st_mode & kForEverybody) != kForEverybody) return true;
  return file.st_uid == ::geteuid() || file.st_uid == folder.st_uid;
}

// /proc/self/fd/1 and the like: its text is no path, unless it is a file's.
bool is_magic(int folder) {
  struct statfs status {};
  return ::fstatfs(folder, &status) == 0 && status.f_type == PROC_SUPER_MAGIC;
}

}  // namespace

int FilePlace::find(const std::string& path, FilePlace& place) {
  std::string rest = path;
  UniqueFd at(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (int links = 0; at && links <= kMaxLinks; ++links) {
    const size_t slash = rest.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : rest.substr(0, slash + 1);
    place.name = rest.substr(slash + 1);  // of npos that is 0
    if (rest.empty()) return ENOENT;
    place.folder = UniqueFd(::openat(at.get(), folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!place.folder) return errno;
    if (place.name.empty() || place.name == "." || place.name == "..") return EISDIR;
    place.there = UniqueFd(::openat(place.folder.get(), place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!place.there) return errno == ENOENT ? 0 : errno;
    struct stat file {
    }, its_folder{};
    if (::fstat(place.there.get(), &file) < 0 || ::fstat(place.folder.get(), &its_folder) < 0) return errno;
    if (S_ISREG(file.st_mode) || S_ISDIR(file.st_mode)) return 0;
    if (!may_be_used(its_folder, file)) return EACCES;
    if (!S_ISLNK(file.st_mode)) return 0;
    if (is_magic(place.folder.get())) {
      UniqueFd behind(::openat(place.folder.get(), place.name.c_str(), O_PATH | O_CLOEXEC));
      struct stat status {};
      if (behind && ::fstat(behind.get(), &status) == 0 && !S_ISREG(status.st_mode)) {
        place.there = std::move(behind);
        return 0;
      }
    }
    std::array<char, PATH_MAX> target;
    const ssize_t length = ::readlinkat(place.there.get(), "", target.data(), target.size());
    if (length < 0) return errno;
    rest.assign(target.data(), static_cast<size_t>(length));
    at = std::move(place.folder);
  }
  return at ? ELOOP : errno;
}

}  // namespace vmm
