// SymbolFile: what --vmlinux names: an ELF file with the symbols of an x86-64 kernel, of which it is asked whether it
// is the one of the kernel that runs. See the System V ABI (generic part, chapter 4) for the format, and for the note
// with the build ID the Linker's --build-id.
#pragma once

#include <string>

namespace vmm {

class SymbolFile {
 public:
  // Throws Error when it cannot be read, or is none.
  explicit SymbolFile(const std::string& path);

  const std::string& path() const { return path_; }
  // In hexadecimal digits, as VMCOREINFO has it; empty when the file has none.
  const std::string& build_id() const { return build_id_; }

 private:
  std::string path_;
  std::string build_id_;
};

}  // namespace vmm
