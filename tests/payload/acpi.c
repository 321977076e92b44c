// As much of ACPI as it takes to switch off or reset as the tables say (ACPI 6.4 §5.2): RSDP, RSDT or XSDT, FADT, and
// of the DSDT the bytes of \_S5.
#include "runtime.h"

static bool same(uint32_t address, const char* text) {
  const char* bytes = (const char*)(uintptr_t)address;
  while (*text)
    if (*bytes++ != *text++) return false;
  return true;
}

// §5.2.5.1: the RSDP is on a 16-byte boundary of the BIOS area. It names an RSDT, or an XSDT with wider entries.
static uint32_t find_table(const char* signature) {
  for (uint32_t rsdp = 0xe0000; rsdp < 0x100000; rsdp += 16) {
    if (!same(rsdp, "RSD PTR ")) continue;
    const bool extended = *at8(rsdp + 15) >= 2 && *at32(rsdp + 24);
    const uint32_t root = *at32(rsdp + (extended ? 24 : 16)), end = root + *at32(root + 4);
    for (uint32_t entry = root + 36; entry < end; entry += extended ? 8 : 4)
      if (same(*at32(entry), signature)) return *at32(entry);
  }
  expect(false, "an ACPI table is there", 0);
  return 0;
}

void acpi_power_off(void) {
  enum {
    kDsdt = 40,
    kExtendedDsdt = 140,
    kPm1aControl = 64,
    kSleepTypeShift = 10,
    kSleepEnable = 1 << 13,
    kBytePrefix = 0x0a
  };
  const uint32_t fadt = find_table("FACP");
  if (!fadt) return;
  const uint32_t dsdt = *at32(fadt + (*at32(fadt + kDsdt) ? kDsdt : kExtendedDsdt)), end = dsdt + *at32(dsdt + 4);
  for (uint32_t name = dsdt + 36; name + 12 < end; name++) {
    if (!same(name, "_S5_")) continue;
    // Package: opcode, length (one byte for one so small), count, then the first element.
    uint32_t element = name + 4 + 3;
    if (*at8(element) == kBytePrefix) element++;
    const uint16_t type = *at8(element) <= 7 ? *at8(element) : 0;
    out16((uint16_t)*at32(fadt + kPm1aControl), (uint16_t)(type << kSleepTypeShift | kSleepEnable));
    return;
  }
  print("payload: no _S5 in the DSDT\n");
}

void acpi_reset(void) {
  enum { kFlags = 112, kResetRegisterSupported = 1 << 10, kResetRegister = 116, kResetValue = 128 };
  const uint32_t fadt = find_table("FACP");
  if (!fadt) return;
  expect((*at32(fadt + kFlags) & kResetRegisterSupported) != 0, "the FADT has a reset register", *at32(fadt + kFlags));
  out8((uint16_t)*at32(fadt + kResetRegister + 4), *at8(fadt + kResetValue));
}
