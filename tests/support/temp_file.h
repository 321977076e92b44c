// TempDirectory, TempFile: files for a test, removed at its end. In $TMPDIR or /tmp unless told otherwise; that ought
// to be no network file system, because disks are written there.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "vmm/core/fd.h"

namespace vmm::test {

class TempDirectory {
 public:
  explicit TempDirectory(const std::string& parent = std::filesystem::temp_directory_path())
      : path_(parent + "/vmm-test-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator()(std::string_view name) const { return path_ + "/" + std::string(name); }
  // Writes a file there and returns its path.
  std::string file(std::string_view name, std::string_view content) const {
    std::ofstream((*this)(name), std::ios::binary) << content;
    return (*this)(name);
  }

 private:
  std::string path_;
};

class TempFile {
 public:
  // Sparse, so it reads as zeroes.
  explicit TempFile(uint64_t size) : TempFile(size, std::filesystem::temp_directory_path()) {}
  TempFile(uint64_t size, const std::string& parent) : directory_(parent), path_(directory_("disk.img")) {
    fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    resize(size);
  }
  // A copy of another, with its holes.
  explicit TempFile(const std::string& original) : TempFile(uint64_t{0}) {
    const std::string command = "cp --sparse=always '" + original + "' '" + path_ + "'";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot copy " + original);
  }

  const std::string& path() const { return path_; }
  void resize(uint64_t size) {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) throw std::runtime_error("ftruncate failed");
  }
  void unlink() { ::unlink(path_.c_str()); }
  void write(uint64_t offset, const std::string& text) {
    if (::pwrite(fd_.get(), text.data(), text.size(), static_cast<off_t>(offset)) < 0)
      throw std::runtime_error("pwrite failed");
  }
  std::string read(uint64_t offset, size_t length) const {
    std::string text(length, '?');
    text.resize(
        static_cast<size_t>(std::max<ssize_t>(0, ::pread(fd_.get(), text.data(), length, static_cast<off_t>(offset)))));
    return text;
  }
  std::string content() const { return read(0, size()); }
  uint64_t size() const { return static_cast<uint64_t>(status().st_size); }
  // Bytes that take room on the host.
  uint64_t allocated() const { return static_cast<uint64_t>(status().st_blocks) * 512; }

 private:
  struct stat status() const {
    struct stat result {};
    ::fstat(fd_.get(), &result);
    return result;
  }

  TempDirectory directory_;
  std::string path_;
  UniqueFd fd_;
};

}  // namespace vmm::test
