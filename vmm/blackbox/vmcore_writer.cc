// ELF headers, and memory page by page; see vmcore_writer.h.
#include "vmm/blackbox/vmcore_writer.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "vmm/blackbox/vmcore_notes.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

namespace {

constexpr uint64_t kPageSize = PhysicalMemory::kPageSize;
constexpr size_t kBufferSize = size_t{1} << 20;

uint64_t round_up(uint64_t size) { return (size + kPageSize - 1) / kPageSize * kPageSize; }

template <typename T>
void append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

Elf64_Ehdr elf_header(size_t program_headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<uint16_t>(program_headers);
  return header;
}

Elf64_Phdr load(uint64_t offset, const Mapping& mapping) {
  return {.p_type = PT_LOAD,
          .p_flags = PF_R | PF_W | PF_X,
          .p_offset = offset,
          .p_vaddr = mapping.address,
          .p_paddr = mapping.physical.value,
          .p_filesz = mapping.size,
          .p_memsz = mapping.size,
          .p_align = 0};  // by which `crash` tells a kdump from a netdump
}

// The kernel's image, as far as it lies in one region, and where that is in all of RAM. The guest says where it is.
struct Image {
  Mapping mapping;
  uint64_t offset = 0;
};
std::optional<Image> image_in(std::span<const GuestMemory::Region> regions, std::optional<Mapping> mapping) {
  uint64_t offset = 0;
  for (const GuestMemory::Region& region : regions) {
    const uint64_t inside = mapping ? mapping->physical.value - region.start.value : region.size;
    if (inside < region.size) {
      mapping->size = std::min(mapping->size, region.size - inside);
      return Image{*mapping, offset + inside};
    }
    offset += region.size;
  }
  return std::nullopt;
}

bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

// A file that gets its name when it is whole, and is gone if it does not come that far.
class NewFile {
 public:
  NewFile(const std::string& path, uint64_t size) : path_(path), temporary_(path + ".XXXXXX") {
    file_ = UniqueFd(::mkostemp(temporary_.data(), O_CLOEXEC));
    if (!file_) fail(errno);
    created_ = true;
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) < 0) {
      const int error = errno;
      discard();
      fail(error);
    }
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() { discard(); }

  void write(uint64_t offset, std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail(written < 0 ? errno : EIO);
      bytes = bytes.subspan(static_cast<size_t>(written));
      offset += static_cast<uint64_t>(written);
    }
  }

  void finish() {
    if (::fsync(file_.get()) < 0 || ::rename(temporary_.c_str(), path_.c_str()) < 0) fail(errno);
    created_ = false;
  }

 private:
  void discard() {
    if (std::exchange(created_, false)) ::unlink(temporary_.c_str());
  }
  [[noreturn]] void fail(int error) const {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    throw Error(fmt::format("cannot write vmcore '{}': {}", path_, errno_text(error)),
                full ? "make room there, or name another place: it may become as large as the guest's memory"
                     : "name a file in a folder where you may write");
  }

  std::string path_;
  std::string temporary_;
  UniqueFd file_;
  bool created_ = false;
};

}  // namespace

std::vector<std::byte> vmcore_head(const VmcoreContents& contents) {
  std::vector<std::byte> notes;
  append_registers(notes, contents.cpus, contents.pids);
  if (!contents.vmcoreinfo.empty()) {
    append_note(notes, {kVmcoreinfoNote, 0, std::as_bytes(std::span(contents.vmcoreinfo))});
  }
  const auto& regions = contents.memory.regions();
  const auto image = image_in(regions, contents.image);
  const size_t program_headers = 1 + (image ? 1 : 0) + regions.size();
  const uint64_t notes_at = sizeof(Elf64_Ehdr) + program_headers * sizeof(Elf64_Phdr);
  uint64_t offset = round_up(notes_at + notes.size());

  std::vector<std::byte> head;
  append(head, elf_header(program_headers));
  append(head, Elf64_Phdr{.p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes.size(), .p_memsz = notes.size()});
  if (image) append(head, load(offset + image->offset, image->mapping));
  for (const GuestMemory::Region& region : regions) {
    const uint64_t address = region.start.value + contents.direct_map.value_or(0);
    append(head, load(offset, {.address = address, .physical = region.start, .size = region.size}));
    offset += region.size;
  }
  head.insert(head.end(), notes.begin(), notes.end());
  head.resize(round_up(head.size()));
  return head;
}

void check_vmcore_path(const std::string& path) {
  for (const std::string_view suffix : {".zst", ".gz", ".xz", ".lzo"}) {
    if (!path.ends_with(suffix)) continue;
    throw Error(fmt::format("a vmcore is not written compressed, as '{}' says: crash and drgn do not read that", path),
                fmt::format("'{}', which is sparse; then zstd", path.substr(0, path.size() - suffix.size())));
  }
  const auto refuse = [&path](const std::string& why) {
    throw Error(fmt::format("cannot write vmcore '{}': {}", path, why), "name a file in a folder where you may write");
  };
  struct stat status {};
  if (path.empty()) refuse(errno_text(ENOENT));
  // Only a file can be replaced: a device or a pipe would be lost by it.
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) refuse("it is no file");
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (::access(folder.c_str(), W_OK | X_OK) < 0) refuse(errno_text(errno));
}

void write_vmcore(const std::string& path, const VmcoreContents& contents, const std::atomic<bool>& give_up) {
  check_vmcore_path(path);
  const std::vector<std::byte> head = vmcore_head(contents);
  NewFile file(path, head.size() + contents.memory.total_size());
  file.write(0, head);

  std::vector<std::byte> buffer(kBufferSize);
  size_t filled = 0;
  uint64_t place = 0;  // of the buffer in the file
  const auto flush = [&] { file.write(place, std::span(buffer).first(std::exchange(filled, 0))); };
  uint64_t region_at = head.size();
  auto region = contents.memory.regions().begin();
  contents.memory.for_each_touched_page([&](GuestAddress page) {
    while (page.value - region->start.value >= region->size) region_at += region++->size;
    const uint64_t at = region_at + (page.value - region->start.value);
    if (filled == buffer.size() || at != place + filled) flush();
    const auto to = std::span(buffer).subspan(filled, kPageSize);
    CHECK(contents.memory.read(page, to));
    if (is_zero(to)) return !give_up;
    if (filled == 0) place = at;
    filled += kPageSize;
    return !give_up;
  });
  if (give_up) throw Error(fmt::format("vmcore '{}' was not written: given up", path));
  flush();
  file.finish();
}

}  // namespace vmm
