// DiskFile: a file for one test, sparse or a copy of another, gone at its end.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace vmm::test {

class DiskFile {
 public:
  // In $TMPDIR, which ought to be no network file system: disks are written there.
  explicit DiskFile(uint64_t size) {
    const ssize_t fd = ::mkstemp(path_.data());
    if (fd < 0) throw std::runtime_error("no temporary file");
    ::close(static_cast<int>(fd));
    std::filesystem::resize_file(path_, size);
  }
  explicit DiskFile(const std::string& original) : DiskFile(uint64_t{0}) {
    // With its holes.
    const std::string command = "cp --sparse=always '" + original + "' '" + path_ + "'";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot copy " + original);
  }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;
  ~DiskFile() { ::unlink(path_.c_str()); }

  const std::string& path() const { return path_; }
  uint64_t size() const { return std::filesystem::file_size(path_); }
  // Bytes that take room on the host.
  uint64_t allocated() const {
    struct stat status {};
    ::stat(path_.c_str(), &status);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }
  std::string content() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  static std::string pattern() {
    const char* folder = std::getenv("TMPDIR");
    return std::string(folder != nullptr ? folder : "/tmp") + "/vmm-test-XXXXXX";
  }
  std::string path_ = pattern();
};

}  // namespace vmm::test
