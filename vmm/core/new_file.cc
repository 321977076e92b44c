// The temporary file, and its renaming; see new_file.h.
#include "vmm/core/new_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// A device, a pipe: what is written as it is, and not replaced.
bool is_in_place(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

// The file behind a symbolic link, where there is one.
std::string behind_link(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error) || error) return path;
  const std::string target = std::filesystem::canonical(path, error).string();
  return error ? path : target;
}

// In a folder such as /tmp nobody replaces what is another user's: unlink(2), EPERM.
bool is_another_users(const std::string& path) {
  struct stat file {
  }, folder{};
  if (::lstat(path.c_str(), &file) < 0 || ::stat(folder_of(path).c_str(), &folder) < 0) return false;
  const uid_t self = ::geteuid();
  return (folder.st_mode & S_ISVTX) != 0 && self != 0 && self != file.st_uid && self != folder.st_uid;
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
  if (path_.empty()) fail(ENOENT);
  if (is_in_place(path_)) {
    // A pipe that nobody reads would have us wait for ever.
    file_ = UniqueFd(::open(path_.c_str(), O_WRONLY | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file_ || ::fcntl(file_.get(), F_SETFL, 0) < 0) fail(errno);
    return;
  }
  path_ = behind_link(path_);
  if (is_another_users(path_)) fail(EPERM);
  temporary_ = path_ + ".XXXXXX";
  file_ = UniqueFd(::mkostemp(temporary_.data(), O_CLOEXEC));
  const int error = !file_ || ::fchmod(file_.get(), mode) < 0 ? errno : 0;
  if (error == 0) return;
  if (file_) discard();
  fail(error);
}

NewFile::~NewFile() { discard(); }

void NewFile::discard() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
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
  if (::rename(temporary_.c_str(), path_.c_str()) < 0) fail(errno);
  temporary_.clear();
}

void NewFile::check(const std::string& what, const std::string& path) {
  if (!is_in_place(path)) return void(NewFile(what, path, 0600));
  const bool is_folder = std::filesystem::is_directory(path);
  if (is_folder || ::access(path.c_str(), W_OK) < 0) refuse(what, path, is_folder ? EISDIR : errno);
}

void NewFile::fail(int error) const { refuse(what_, path_, error); }

void write_whole_file(const std::string& path, const std::string& content) {
  NewFile file({}, path, 0644);
  file.append(std::as_bytes(std::span(content)));
  file.finish();
}

}  // namespace vmm
