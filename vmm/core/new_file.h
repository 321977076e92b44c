// NewFile: a file that gets its name when it is whole. Until then whatever had that name stays as it is, and when
// nothing comes of it nothing is left of it either.
//
// Where a device or a pipe is, that is written: it would be lost to others if it were replaced. Of a symbolic link it
// is the file behind it that is replaced; not of one that another user planted in /tmp or the like (see file_place.h).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vmm/core/fd.h"
#include "vmm/core/file_place.h"

namespace vmm {

class NewFile {
 public:
  // `what` it is, for messages: "vmcore", "--result", or empty. All of these throw Error.
  NewFile(std::string what, const std::string& path, mode_t mode);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  void set_size(uint64_t bytes);
  void append(std::span<const std::byte> bytes);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  // It is whole: once this returns it is on the disk, under its name.
  void finish();

  // Throws what the others would, as far as that can be told without a trace of it.
  static void check(const std::string& what, const std::string& path);

 private:
  [[noreturn]] void fail(int error) const;
  void discard();

  std::string what_;
  std::string path_;  // for messages
  FilePlace place_;
  std::string temporary_;  // its name in the folder until then; empty: it is written where it is
  UniqueFd file_;
};

// What mends it that a file could not grow: this process's own limit, where that was in the way, else `otherwise`.
std::string fix_for_growth(int error, std::string otherwise);

// Replaces the file at once, so that no reader ever sees half of one; anybody may read it. Throws Error.
void write_whole_file(const std::string& path, const std::string& content);

}  // namespace vmm
