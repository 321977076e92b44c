// ACPI tables as they lie in memory: packed structures of ACPI 6.4 §5.2 and of the PCI Firmware Specification 3.2.
//
// Fields keep the names of the specification; what a field is worth in this machine is said in acpi.cc.
#pragma once

#include <array>
#include <cstdint>

namespace vmm::acpi {

#pragma pack(push, 1)

// Root system description pointer, §5.2.5.3.
struct Rsdp {
  std::array<char, 8> signature;
  uint8_t checksum;  // of the first 20 bytes
  std::array<char, 6> oem_id;
  uint8_t revision;
  uint32_t rsdt_address;
  uint32_t length;
  uint64_t xsdt_address;
  uint8_t extended_checksum;
  std::array<uint8_t, 3> reserved;
};
static_assert(sizeof(Rsdp) == 36);

// System description table header, §5.2.6.
struct Header {
  std::array<char, 4> signature;
  uint32_t length;
  uint8_t revision;
  uint8_t checksum;
  std::array<char, 6> oem_id;
  std::array<char, 8> oem_table_id;
  uint32_t oem_revision;
  std::array<char, 4> creator_id;
  uint32_t creator_revision;
};
static_assert(sizeof(Header) == 36);

// Generic address structure, §5.2.3.2.
struct GenericAddress {
  uint8_t address_space_id;
  uint8_t register_bit_width;
  uint8_t register_bit_offset;
  uint8_t access_size;
  uint64_t address;
};
static_assert(sizeof(GenericAddress) == 12);

// Fixed ACPI description table, §5.2.9, from behind its header.
struct Fadt {
  uint32_t firmware_ctrl;
  uint32_t dsdt;
  uint8_t reserved0;
  uint8_t preferred_pm_profile;
  uint16_t sci_int;
  uint32_t smi_cmd;
  uint8_t acpi_enable;
  uint8_t acpi_disable;
  uint8_t s4bios_req;
  uint8_t pstate_cnt;
  uint32_t pm1a_evt_blk;
  uint32_t pm1b_evt_blk;
  uint32_t pm1a_cnt_blk;
  uint32_t pm1b_cnt_blk;
  uint32_t pm2_cnt_blk;
  uint32_t pm_tmr_blk;
  uint32_t gpe0_blk;
  uint32_t gpe1_blk;
  uint8_t pm1_evt_len;
  uint8_t pm1_cnt_len;
  uint8_t pm2_cnt_len;
  uint8_t pm_tmr_len;
  uint8_t gpe0_blk_len;
  uint8_t gpe1_blk_len;
  uint8_t gpe1_base;
  uint8_t cst_cnt;
  uint16_t p_lvl2_lat;
  uint16_t p_lvl3_lat;
  uint16_t flush_size;
  uint16_t flush_stride;
  uint8_t duty_offset;
  uint8_t duty_width;
  uint8_t day_alrm;
  uint8_t mon_alrm;
  uint8_t century;
  uint16_t iapc_boot_arch;
  uint8_t reserved1;
  uint32_t flags;
  GenericAddress reset_reg;
  uint8_t reset_value;
  uint16_t arm_boot_arch;
  uint8_t minor_version;
  uint64_t x_firmware_ctrl;
  uint64_t x_dsdt;
  GenericAddress x_pm1a_evt_blk;
  GenericAddress x_pm1b_evt_blk;
  GenericAddress x_pm1a_cnt_blk;
  GenericAddress x_pm1b_cnt_blk;
  GenericAddress x_pm2_cnt_blk;
  GenericAddress x_pm_tmr_blk;
  GenericAddress x_gpe0_blk;
  GenericAddress x_gpe1_blk;
  GenericAddress sleep_control_reg;
  GenericAddress sleep_status_reg;
  uint64_t hypervisor_vendor_identity;
};
static_assert(sizeof(Header) + sizeof(Fadt) == 276);

// Firmware ACPI control structure, §5.2.10. It has no header and no checksum.
struct Facs {
  std::array<char, 4> signature;
  uint32_t length;
  uint32_t hardware_signature;
  uint32_t firmware_waking_vector;
  uint32_t global_lock;
  uint32_t flags;
  uint64_t x_firmware_waking_vector;
  uint8_t version;
  std::array<uint8_t, 31> reserved;
};
static_assert(sizeof(Facs) == 64);

// Multiple APIC description table, §5.2.12, and the entries of it that we use.
struct Madt {
  uint32_t local_apic_address;
  uint32_t flags;
};
struct MadtLocalApic {  // §5.2.12.2
  uint8_t type;
  uint8_t length;
  uint8_t acpi_processor_uid;
  uint8_t apic_id;
  uint32_t flags;
};
struct MadtIoApic {  // §5.2.12.3
  uint8_t type;
  uint8_t length;
  uint8_t io_apic_id;
  uint8_t reserved;
  uint32_t io_apic_address;
  uint32_t global_system_interrupt_base;
};
struct MadtInterruptOverride {  // §5.2.12.5
  uint8_t type;
  uint8_t length;
  uint8_t bus;
  uint8_t source;
  uint32_t global_system_interrupt;
  uint16_t flags;
};
struct MadtLocalApicNmi {  // §5.2.12.7
  uint8_t type;
  uint8_t length;
  uint8_t acpi_processor_uid;
  uint16_t flags;
  uint8_t local_apic_lint;
};
static_assert(sizeof(MadtLocalApic) == 8 && sizeof(MadtIoApic) == 12);
static_assert(sizeof(MadtInterruptOverride) == 10 && sizeof(MadtLocalApicNmi) == 6);

// Memory mapped configuration space, PCI Firmware Specification 3.2 §4.1.2.
struct Mcfg {
  uint64_t reserved;
  uint64_t base_address;
  uint16_t pci_segment_group;
  uint8_t start_bus;
  uint8_t end_bus;
  uint32_t reserved1;
};
static_assert(sizeof(Mcfg) == 24);

#pragma pack(pop)

}  // namespace vmm::acpi
