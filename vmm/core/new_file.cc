// The temporary file, and its renaming; see new_file.h.
#include "vmm/core/new_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

// A device, a pipe: what is written as it is, and not replaced.
bool is_in_place(const FilePlace& place) {
  struct stat status {};
  return place.there && ::fstat(place.there.get(), &status) == 0 && !S_ISREG(status.st_mode);
}

bool is_folder(const FilePlace& place) {
  struct stat status {};
  return place.there && ::fstat(place.there.get(), &status) == 0 && S_ISDIR(status.st_mode);
}

// In a folder such as /tmp nobody replaces what is another user's: unlink(2), EPERM.
bool is_another_users(const FilePlace& place) {
  struct stat file {
  }, folder{};
  if (!place.there || ::fstat(place.there.get(), &file) < 0 || ::fstat(place.folder.get(), &folder) < 0) return false;
  const uid_t self = ::geteuid();
  return (folder.st_mode & S_ISVTX) != 0 && self != 0 && self != file.st_uid && self != folder.st_uid;
}

// A name that nobody has guessed and put something at.
std::string unusual_name(const std::string& name) {
  uint64_t number = 0;
  static_cast<void>(::getrandom(&number, sizeof number, 0));
  return fmt::format("{}.{:012x}", name, number & 0xffff'ffff'ffff);
}

[[noreturn]] void refuse(const std::string& what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(fmt::format("cannot write {}{}'{}': {}", what, what.empty() ? "" : " ", path, errno_text(error)),
              full ? fix_for_growth(error, "make room there, or name another place")
                   : "name a file in a folder where you may write");
}

// Calls write(2) or the like until all is written. Returns 0 or an errno value.
template <typename Write>
int write_all(std::span<const std::byte> bytes, Write write) {
  while (!bytes.empty()) {
    const ssize_t written = write(bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

}  // namespace

std::string fix_for_growth(int error, std::string otherwise) {
  rlimit limit{};
  const bool limited = error == EFBIG && ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  if (limited) return "ulimit -f unlimited";
  return otherwise;
}

NewFile::NewFile(std::string what, const std::string& path, mode_t mode) : what_(std::move(what)), path_(path) {
  if (const int error = FilePlace::find(path_, place_); error != 0) fail(error);
  if (is_in_place(place_)) {
    // The very thing that was looked at. A pipe that nobody reads would have us wait for ever.
    const std::string itself = fmt::format("/proc/self/fd/{}", place_.there.get());
    file_ = UniqueFd(::open(itself.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file_ || ::fcntl(file_.get(), F_SETFL, 0) < 0) fail(errno);
    return;
  }
  if (is_another_users(place_)) fail(EPERM);
  temporary_ = unusual_name(place_.name);
  file_ = UniqueFd(::openat(place_.folder.get(), temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  const int error = !file_ || ::fchmod(file_.get(), mode) < 0 ? errno : 0;
  if (error == 0) return;
  if (file_) discard();
  fail(error);
}

NewFile::~NewFile() { discard(); }

void NewFile::discard() {
  if (file_ && !temporary_.empty()) ::unlinkat(place_.folder.get(), temporary_.c_str(), 0);
  temporary_.clear();
}

void NewFile::set_size(uint64_t bytes) {
  if (::ftruncate(file_.get(), static_cast<off_t>(bytes)) < 0) fail(errno);
}

void NewFile::append(std::span<const std::byte> bytes) {
  const auto write = [this](std::span<const std::byte> rest) { return ::write(file_.get(), rest.data(), rest.size()); };
  if (const int error = write_all(bytes, write); error != 0) fail(error);
}

void NewFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t end = offset + bytes.size();
  const auto write = [this, end](std::span<const std::byte> rest) {
    return ::pwrite(file_.get(), rest.data(), rest.size(), static_cast<off_t>(end - rest.size()));
  };
  if (const int error = write_all(bytes, write); error != 0) fail(error);
}

void NewFile::finish() {
  // A pipe or a device has nothing to be brought to a disk.
  if (::fsync(file_.get()) < 0 && errno != EINVAL && errno != EROFS) fail(errno);
  if (temporary_.empty()) return;
  const int folder = place_.folder.get();
  if (::renameat(folder, temporary_.c_str(), folder, place_.name.c_str()) < 0) fail(errno);
  temporary_.clear();
  // The name is on the disk when its folder is. Where that may not be read, it cannot be told so.
  const UniqueFd readable(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (readable && ::fsync(readable.get()) < 0 && errno != EINVAL && errno != EROFS) fail(errno);
}

void NewFile::check(const std::string& what, const std::string& path) {
  FilePlace place;
  if (const int error = FilePlace::find(path, place); error != 0) refuse(what, path, error);
  if (!is_in_place(place)) return void(NewFile(what, path, 0600));
  if (is_folder(place)) refuse(what, path, EISDIR);
  const std::string itself = fmt::format("/proc/self/fd/{}", place.there.get());
  if (::access(itself.c_str(), W_OK) < 0) refuse(what, path, errno);
}

void NewFile::fail(int error) const { refuse(what_, path_, error); }

void write_whole_file(const std::string& path, const std::string& content) {
  NewFile file({}, path, 0644);
  file.append(std::as_bytes(std::span(content)));
  file.finish();
}

}  // namespace vmm
