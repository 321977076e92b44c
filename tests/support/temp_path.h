// TempPath: a directory of its own for a test's files, gone at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace vmm::test {

class TempPath {
 public:
  TempPath() {
    std::string name = (std::filesystem::temp_directory_path() / "vmm-test-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  TempPath(const TempPath&) = delete;
  TempPath& operator=(const TempPath&) = delete;
  ~TempPath() { std::filesystem::remove_all(directory_); }

  std::string operator()(std::string_view name) const { return (directory_ / name).string(); }
  // Writes a file there and returns its path.
  std::string file(std::string_view name, std::string_view content) const {
    std::ofstream((*this)(name), std::ios::binary) << content;
    return (*this)(name);
  }

 private:
  std::filesystem::path directory_;
};

}  // namespace vmm::test
