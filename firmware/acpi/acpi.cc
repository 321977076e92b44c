// ACPI tables for a full (not hardware-reduced) PC: RSDP -> RSDT and XSDT -> FADT (-> FACS, DSDT), MADT, MCFG.
//
// Tables are laid one behind another from the start of the ACPI area, the RSDP first. The machine has no System
// Management Mode, so it is in ACPI mode from the start: SMI_CMD is zero, and SCI_EN reads as one (ACPI 6.4 §5.2.9).
#include "firmware/acpi/acpi.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "firmware/acpi/tables.h"
#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

using namespace acpi;

constexpr std::array<char, 6> kOemId = {'V', 'M', 'M', ' ', ' ', ' '};

// Hands out the ACPI area from its start.
class TableWriter {
 public:
  explicit TableWriter(const GuestMemory& memory) : memory_(memory) {}

  GuestAddress place(std::span<const uint8_t> bytes, uint64_t alignment = 16) {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    const GuestAddress address{next_};
    next_ += bytes.size();
    if (next_ > kAcpiArea.start.value + kAcpiArea.size) {
      throw Error(fmt::format("the ACPI tables take more than {} KiB", kAcpiArea.size / 1024),
                  "use fewer vCPUs or serial ports");
    }
    put_bytes(memory_, address, bytes);
    return address;
  }

  GuestAddress place_table(std::array<char, 4> signature, uint8_t revision, std::span<const uint8_t> body) {
    const Header header = {.signature = signature,
                           .length = static_cast<uint32_t>(sizeof(Header) + body.size()),
                           .revision = revision,
                           .checksum = 0,
                           .oem_id = kOemId,
                           .oem_table_id = {'V', 'M', 'M', 'T', 'A', 'B', 'L', 'E'},
                           .oem_revision = 1,
                           .creator_id = {'V', 'M', 'M', ' '},
                           .creator_revision = 1};
    Bytes table;
    append(table, header);
    table.insert(table.end(), body.begin(), body.end());
    table[offsetof(Header, checksum)] = checksum(table);
    return place(table);
  }

 private:
  const GuestMemory& memory_;
  uint64_t next_ = kAcpiArea.start.value;
};

GenericAddress io_register(uint16_t port, uint8_t bytes, uint8_t access_bytes) {
  constexpr uint8_t kSystemIo = 1;
  const auto access_size = static_cast<uint8_t>(access_bytes == 4 ? 3 : access_bytes);  // 1 byte, 2 word, 3 dword
  return {.address_space_id = kSystemIo,
          .register_bit_width = static_cast<uint8_t>(bytes * 8),
          .register_bit_offset = 0,
          .access_size = access_size,
          .address = port};
}

Fadt build_fadt(const Platform& platform, GuestAddress facs, GuestAddress dsdt) {
  // §5.2.9 table 5.10. The power button is a fixed feature (PWR_BUTTON clear); there is no sleep button, and the
  // clock's alarm is not in the fixed registers. The PM timer counts 24 bits (TMR_VAL_EXT clear).
  constexpr uint32_t kWbinvd = 1 << 0, kProcC1 = 1 << 2, kNoSleepButton = 1 << 5, kRtcNotFixed = 1 << 6;
  constexpr uint32_t kResetRegisterSupported = 1 << 10;
  // §5.2.9.3 table 5.11
  constexpr uint16_t kLegacyDevices = 1 << 0, k8042 = 1 << 1, kNoVga = 1 << 2;
  constexpr uint16_t kNoC2 = 101, kNoC3 = 1001;  // latencies beyond which a state is not supported
  constexpr uint8_t kCenturyInCmos = 0x32;

  const auto control = static_cast<uint16_t>(platform.pm_base + 4);
  const auto timer = static_cast<uint16_t>(platform.pm_base + 8);
  Fadt fadt{};
  fadt.firmware_ctrl = static_cast<uint32_t>(facs.value);
  fadt.dsdt = static_cast<uint32_t>(dsdt.value);
  fadt.x_dsdt = dsdt.value;
  fadt.sci_int = platform.sci_irq;
  fadt.pm1a_evt_blk = platform.pm_base;
  fadt.pm1_evt_len = 4;
  fadt.x_pm1a_evt_blk = io_register(platform.pm_base, 4, 2);
  fadt.pm1a_cnt_blk = control;
  fadt.pm1_cnt_len = 2;
  fadt.x_pm1a_cnt_blk = io_register(control, 2, 2);
  fadt.pm_tmr_blk = timer;
  fadt.pm_tmr_len = 4;
  fadt.x_pm_tmr_blk = io_register(timer, 4, 4);
  fadt.p_lvl2_lat = kNoC2;
  fadt.p_lvl3_lat = kNoC3;
  fadt.century = kCenturyInCmos;
  fadt.iapc_boot_arch = kLegacyDevices | k8042 | kNoVga;
  fadt.flags = kWbinvd | kProcC1 | kNoSleepButton | kRtcNotFixed | kResetRegisterSupported;
  fadt.reset_reg = io_register(platform.reset_port, 1, 1);
  fadt.reset_value = platform.reset_value;
  return fadt;
}

Bytes build_madt(const Platform& platform) {
  constexpr uint32_t kLocalApicAddress = 0xfee00000, kIoApicAddress = 0xfec00000;
  constexpr uint32_t kPcAtCompatible = 1, kEnabled = 1;
  constexpr uint16_t kAsTheBus = 0, kLevelActiveLow = 0xf;  // MPS INTI flags, table 5.26
  constexpr uint8_t kAllProcessors = 0xff, kLint1 = 1;

  Bytes madt;
  append(madt, Madt{kLocalApicAddress, kPcAtCompatible});
  for (unsigned cpu = 0; cpu < platform.cpus; ++cpu) {
    const auto id = static_cast<uint8_t>(cpu);
    append(madt, MadtLocalApic{0, sizeof(MadtLocalApic), id, id, kEnabled});
  }
  append(madt, MadtIoApic{1, sizeof(MadtIoApic), 0, 0, kIoApicAddress, 0});

  const auto override_isa = [&](uint8_t source, uint32_t gsi, uint16_t flags) {
    append(madt, MadtInterruptOverride{2, sizeof(MadtInterruptOverride), 0, source, gsi, flags});
  };
  override_isa(0, 2, kAsTheBus);  // the PIT is wired to input 2 of the I/O APIC
  std::vector<uint8_t> level_irqs(platform.pci_irqs.begin(), platform.pci_irqs.end());
  level_irqs.push_back(platform.sci_irq);
  std::sort(level_irqs.begin(), level_irqs.end());
  level_irqs.erase(std::unique(level_irqs.begin(), level_irqs.end()), level_irqs.end());
  for (const uint8_t irq : level_irqs) override_isa(irq, irq, kLevelActiveLow);

  append(madt, MadtLocalApicNmi{4, sizeof(MadtLocalApicNmi), kAllProcessors, kAsTheBus, kLint1});
  return madt;
}

Mcfg build_mcfg(const Platform& platform) {
  return {.base_address = platform.ecam.start.value,
          .start_bus = 0,
          .end_bus = static_cast<uint8_t>((platform.ecam.size >> 20) - 1)};
}

}  // namespace

GuestAddress write_acpi(const GuestMemory& memory, const Platform& platform) {
  if (platform.cpus > kMaxAcpiCpus) {
    throw Error(fmt::format("{} vCPUs: local APIC ids address at most {}", platform.cpus, kMaxAcpiCpus),
                fmt::format("--cpus {}", kMaxAcpiCpus));
  }
  TableWriter tables(memory);
  const GuestAddress rsdp_address = tables.place(bytes_of(Rsdp{}));  // keeps its place; filled in below

  Facs facs{};
  facs.signature = {'F', 'A', 'C', 'S'};
  facs.length = sizeof facs;
  facs.version = 2;
  const GuestAddress facs_address = tables.place(bytes_of(facs), 64);  // §5.2.10
  const GuestAddress dsdt = tables.place_table({'D', 'S', 'D', 'T'}, 2, build_dsdt(platform));
  const Fadt fadt = build_fadt(platform, facs_address, dsdt);

  // Small kernels and test suites read the RSDT alone, which is as old as ACPI; Linux takes the XSDT.
  Bytes rsdt, xsdt;
  const auto list = [&](GuestAddress table) {
    append(rsdt, static_cast<uint32_t>(table.value));
    append(xsdt, table.value);
  };
  list(tables.place_table({'F', 'A', 'C', 'P'}, 6, bytes_of(fadt)));
  list(tables.place_table({'A', 'P', 'I', 'C'}, 5, build_madt(platform)));
  list(tables.place_table({'M', 'C', 'F', 'G'}, 1, bytes_of(build_mcfg(platform))));

  Rsdp rsdp{};
  rsdp.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
  rsdp.oem_id = kOemId;
  rsdp.revision = 2;
  rsdp.length = sizeof rsdp;
  rsdp.rsdt_address = static_cast<uint32_t>(tables.place_table({'R', 'S', 'D', 'T'}, 1, rsdt).value);
  rsdp.xsdt_address = tables.place_table({'X', 'S', 'D', 'T'}, 1, xsdt).value;
  rsdp.checksum = checksum(bytes_of(rsdp).first(20));
  rsdp.extended_checksum = checksum(bytes_of(rsdp));
  put(memory, rsdp_address, rsdp);
  return rsdp_address;
}

}  // namespace vmm
