// SMBIOS 3.0 (DMTF DSP0134): a 64-bit and a 32-bit entry point (§5.2), and one table of structures (§7).
//
// A structure is a formatted part followed by its strings, which the formatted part names by number, and ends with
// two zero bytes. Structures that say what ACPI says better (processors, caches, slots) are left out.
#include "firmware/smbios.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

constexpr std::string_view kVendor = "vmm";
constexpr GuestAddress kEntry64{kSmbiosArea.start.value};
constexpr GuestAddress kEntry32{kSmbiosArea.start.value + 0x20};
constexpr GuestAddress kTable{kSmbiosArea.start.value + 0x40};

#pragma pack(push, 1)

struct EntryPoint64 {  // §5.2.2
  std::array<char, 5> anchor = {'_', 'S', 'M', '3', '_'};
  uint8_t checksum = 0;
  uint8_t length = 24;
  uint8_t major_version = 3, minor_version = 0, docrev = 0;
  uint8_t revision = 1;
  uint8_t reserved = 0;
  uint32_t table_maximum_size = 0;
  uint64_t table_address = kTable.value;
};
static_assert(sizeof(EntryPoint64) == 24);

struct EntryPoint32 {  // §5.2.1
  std::array<char, 4> anchor = {'_', 'S', 'M', '_'};
  uint8_t checksum = 0;
  uint8_t length = 31;
  uint8_t major_version = 3, minor_version = 0;
  uint16_t maximum_structure_size = 0;
  uint8_t revision = 0;
  std::array<uint8_t, 5> formatted_area{};
  std::array<char, 5> intermediate_anchor = {'_', 'D', 'M', 'I', '_'};
  uint8_t intermediate_checksum = 0;
  uint16_t table_length = 0;
  uint32_t table_address = static_cast<uint32_t>(kTable.value);
  uint16_t number_of_structures = 0;
  uint8_t bcd_revision = 0x30;
};
static_assert(sizeof(EntryPoint32) == 31);

struct BiosInformation {  // type 0, §7.1
  uint8_t vendor, version;
  uint16_t starting_address_segment = 0xe000;
  uint8_t release_date;
  uint8_t rom_size = 0;
  uint64_t characteristics = 1 << 3;     // "BIOS characteristics not supported"
  uint8_t extension1 = 1 << 0;           // ACPI
  uint8_t extension2 = 1 << 2 | 1 << 4;  // targeted content distribution, virtual machine
  uint8_t major_release = 0, minor_release = 1;
  uint8_t controller_major = 0xff, controller_minor = 0xff;
  uint16_t extended_rom_size = 0;
};
struct SystemInformation {  // type 1, §7.2
  uint8_t manufacturer, product, version, serial;
  std::array<uint8_t, 16> uuid;
  uint8_t wake_up_type = 6;  // power switch
  uint8_t sku = 0, family = 0;
};
struct Chassis {  // type 3, §7.4
  uint8_t manufacturer;
  uint8_t type = 1;  // other
  uint8_t version = 0, serial, asset_tag = 0;
  uint8_t boot_up_state = 3, power_supply_state = 3, thermal_state = 3;  // safe
  uint8_t security_status = 2;                                           // unknown
  uint32_t oem_defined = 0;
  uint8_t height = 0, power_cords = 0, contained_elements = 0, contained_record_length = 0, sku = 0;
};
struct MemoryArray {                                    // type 16, §7.17
  uint8_t location = 1, use = 3, error_correction = 6;  // other, system memory, multi-bit ECC
  uint32_t capacity_kib = 0x80000000;                   // see the extended capacity
  uint16_t error_handle = 0xfffe;                       // no error information is provided
  uint16_t devices = 1;
  uint64_t extended_capacity;
};
struct MemoryDevice {  // type 17, §7.18
  uint16_t array_handle;
  uint16_t error_handle = 0xfffe;
  uint16_t total_width = 0xffff, data_width = 0xffff;  // unknown
  uint16_t size_mib;                                   // or "see the extended size"
  uint8_t form_factor = 9;                             // DIMM
  uint8_t device_set = 0;
  uint8_t locator, bank_locator = 0;
  uint8_t type = 7;               // RAM
  uint16_t type_detail = 1 << 1;  // other
  uint16_t speed = 0;
  uint8_t manufacturer, serial = 0, asset_tag = 0, part = 0;
  uint8_t attributes = 0;
  uint32_t extended_size_mib;
  uint16_t configured_speed = 0, minimum_voltage = 0, maximum_voltage = 0, configured_voltage = 0;
};
struct MemoryArrayMappedAddress {                         // type 19, §7.20
  uint32_t start_kib = 0xffffffff, end_kib = 0xffffffff;  // see the extended addresses
  uint16_t array_handle;
  uint8_t partition_width = 1;
  uint64_t extended_start, extended_end;
};
struct BootInformation {  // type 32, §7.33
  std::array<uint8_t, 6> reserved{};
  uint8_t status = 0;  // no errors detected
};

#pragma pack(pop)

// Grows the table one structure at a time. Strings are put down before the structure that names them is added.
class StructureTable {
 public:
  // The number of a string in the structure that is added next; 0, "none", for an empty one.
  uint8_t string(std::string_view text) {
    if (text.empty()) return 0;
    if (text.find('\0') != text.npos) throw Error("an SMBIOS string holds a NUL character");
    strings_.emplace_back(text);
    return static_cast<uint8_t>(strings_.size());
  }

  template <typename T>
  uint16_t add(uint8_t type, const T& formatted) {
    const Bytes body(bytes_of(formatted).begin(), bytes_of(formatted).end());
    return add_body(type, body);
  }
  uint16_t add_end_of_table() { return add_body(127, {}); }

  const Bytes& bytes() const { return bytes_; }
  uint16_t count() const { return count_; }
  size_t largest() const { return largest_; }

 private:
  uint16_t add_body(uint8_t type, const Bytes& formatted) {
    constexpr size_t kHeaderSize = 4;
    const size_t start = bytes_.size();
    const uint16_t handle = count_++;
    append(bytes_, type);
    append(bytes_, static_cast<uint8_t>(kHeaderSize + formatted.size()));
    append(bytes_, handle);
    bytes_.insert(bytes_.end(), formatted.begin(), formatted.end());
    for (const std::string& text : strings_) bytes_.insert(bytes_.end(), text.c_str(), text.c_str() + text.size() + 1);
    if (strings_.empty()) bytes_.push_back(0);
    bytes_.push_back(0);
    strings_.clear();
    largest_ = std::max(largest_, bytes_.size() - start);
    return handle;
  }

  Bytes bytes_;
  std::vector<std::string> strings_;
  uint16_t count_ = 0;
  size_t largest_ = 0;
};

// §7.2.1: the first three fields of the UUID are stored little endian.
std::array<uint8_t, 16> smbios_uuid(std::array<uint8_t, 16> uuid) {
  std::reverse(uuid.begin(), uuid.begin() + 4);
  std::reverse(uuid.begin() + 4, uuid.begin() + 6);
  std::reverse(uuid.begin() + 6, uuid.begin() + 8);
  return uuid;
}

StructureTable build_table(const Platform& platform) {
  StructureTable table;
  table.add(0, BiosInformation{.vendor = table.string(kVendor),
                               .version = table.string("1"),
                               .release_date = table.string("01/01/2025")});
  table.add(1, SystemInformation{.manufacturer = table.string(kVendor),
                                 .product = table.string(platform.product),
                                 .version = 0,
                                 .serial = table.string(platform.serial_number),
                                 .uuid = smbios_uuid(platform.uuid)});
  table.add(3, Chassis{.manufacturer = table.string(kVendor), .serial = table.string(platform.serial_number)});

  uint64_t memory = 0;
  for (const auto& range : platform.ram) memory += range.size;
  const uint16_t array = table.add(16, MemoryArray{.extended_capacity = memory});
  constexpr uint64_t kSeeExtendedSize = 0x7fff;
  const uint64_t mib = memory / kOneMiB;
  table.add(17, MemoryDevice{.array_handle = array,
                             .size_mib = static_cast<uint16_t>(std::min(mib, kSeeExtendedSize)),
                             .locator = table.string("RAM"),
                             .manufacturer = table.string(kVendor),
                             .extended_size_mib = mib < kSeeExtendedSize ? 0 : static_cast<uint32_t>(mib)});
  for (const auto& range : platform.ram) {
    table.add(19, MemoryArrayMappedAddress{.array_handle = array,
                                           .extended_start = range.start.value,
                                           .extended_end = range.start.value + range.size - 1});
  }
  table.add(32, BootInformation{});
  table.add_end_of_table();
  return table;
}

}  // namespace

void write_smbios(const GuestMemory& memory, const Platform& platform) {
  const StructureTable table = build_table(platform);
  const uint64_t room = kSmbiosArea.start.value + kSmbiosArea.size - kTable.value;
  if (table.bytes().size() > room) {
    throw Error(fmt::format("the SMBIOS tables take {} bytes of {}", table.bytes().size(), room),
                "use a shorter product name or serial number");
  }
  put_bytes(memory, kTable, table.bytes());

  EntryPoint64 entry64;
  entry64.table_maximum_size = static_cast<uint32_t>(table.bytes().size());
  entry64.checksum = checksum(bytes_of(entry64));
  put(memory, kEntry64, entry64);

  EntryPoint32 entry32;
  entry32.maximum_structure_size = static_cast<uint16_t>(table.largest());
  entry32.table_length = static_cast<uint16_t>(table.bytes().size());
  entry32.number_of_structures = table.count();
  entry32.intermediate_checksum = checksum(bytes_of(entry32).subspan(offsetof(EntryPoint32, intermediate_anchor)));
  entry32.checksum = checksum(bytes_of(entry32));
  put(memory, kEntry32, entry32);
}

}  // namespace vmm
