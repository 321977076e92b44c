// ELF headers, and memory page by page; see vmcore_writer.h.
#include "vmm/blackbox/vmcore_writer.h"

#include <elf.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "vmm/blackbox/seekable_zstd.h"
#include "vmm/blackbox/vmcore_notes.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/new_file.h"

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

Elf64_Ehdr elf_header(uint16_t machine, size_t program_headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = machine;
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

// The file from its start to its end.
class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  virtual ~Output() = default;

  virtual void append(std::span<const std::byte> bytes) = 0;
  virtual void append_zeroes(uint64_t count) = 0;
  virtual void finish() = 0;
};

// A file with holes for zeroes.
class SparseOutput : public Output {
 public:
  SparseOutput(const std::string& path, uint64_t size) : file_("vmcore", path, 0600) {
    file_.set_size(size);
    buffer_.reserve(kBufferSize);
  }

  void append(std::span<const std::byte> bytes) override {
    if (buffer_.size() + bytes.size() > kBufferSize) flush();
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  void append_zeroes(uint64_t count) override {
    flush();
    written_ += count;
  }
  void finish() override {
    flush();
    file_.finish();
  }

 private:
  void flush() {
    file_.write_at(written_, buffer_);
    written_ += buffer_.size();
    buffer_.clear();
  }

  NewFile file_;
  std::vector<std::byte> buffer_;
  uint64_t written_ = 0;
};

class CompressedOutput : public Output {
 public:
  explicit CompressedOutput(const std::string& path)
      : file_("vmcore", path, 0600), zstd_([this](std::span<const std::byte> bytes) { file_.append(bytes); }) {}

  void append(std::span<const std::byte> bytes) override { zstd_.append(bytes); }
  void append_zeroes(uint64_t count) override { zstd_.append_zeroes(count); }
  void finish() override {
    zstd_.finish();
    file_.finish();
  }

 private:
  NewFile file_;
  SeekableZstdWriter zstd_;
};

}  // namespace

bool is_compressed_name(std::string_view path) { return path.ends_with(".zst"); }

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
  const bool is_arm64 = !contents.cpus.empty() && contents.cpus.front().arm64() != nullptr;
  append(head, elf_header(is_arm64 ? EM_AARCH64 : EM_X86_64, program_headers));
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
  for (const std::string_view suffix : {".gz", ".xz", ".lzo"}) {
    if (!path.ends_with(suffix)) continue;
    throw Error(fmt::format("a vmcore is compressed with zstd, and not as '{}' says", path),
                fmt::format("'{}.zst'", path.substr(0, path.size() - suffix.size())));
  }
  struct stat status {};
  // It is written here and there, which only a file allows.
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw Error(fmt::format("cannot write vmcore '{}': it is no file", path),
                "name a file in a folder where you may write");
  }
  NewFile::check("vmcore", path);
}

void write_vmcore(const std::string& path, const VmcoreContents& contents, const std::atomic<bool>& give_up) {
  check_vmcore_path(path);
  const std::vector<std::byte> head = vmcore_head(contents);
  const uint64_t size = head.size() + contents.memory.total_size();
  std::unique_ptr<Output> output;
  if (is_compressed_name(path)) {
    output = std::make_unique<CompressedOutput>(path);
  } else {
    output = std::make_unique<SparseOutput>(path, size);
  }
  output->append(head);

  std::array<std::byte, kPageSize> bytes;
  uint64_t done = head.size();
  uint64_t region_at = head.size();
  auto region = contents.memory.regions().begin();
  contents.memory.for_each_touched_page([&](GuestAddress page) {
    while (page.value - region->start.value >= region->size) region_at += region++->size;
    CHECK(contents.memory.read(page, bytes));
    if (is_zero(bytes)) return !give_up;
    const uint64_t at = region_at + (page.value - region->start.value);
    if (at > done) output->append_zeroes(at - done);
    output->append(bytes);
    done = at + kPageSize;
    return !give_up;
  });
  if (give_up) throw Error(fmt::format("vmcore '{}' was not written: given up", path));
  output->append_zeroes(size - done);
  output->finish();
}

}  // namespace vmm
