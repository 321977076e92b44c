// TempDirectory, TempFile: files for a test, removed at its end.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "vmm/core/fd.h"

namespace vmm::test {

class TempDirectory {
 public:
  explicit TempDirectory(const std::string& parent = "/tmp") : path_(parent + "/vmm-test-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class TempFile {
 public:
  // Sparse, so it reads as zeroes.
  explicit TempFile(uint64_t size, const std::string& parent = "/tmp")
      : directory_(parent), path_(directory_.file("disk.img")) {
    fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    resize(size);
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
  uint64_t size() const { return static_cast<uint64_t>(status().st_size); }
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
