// Accesses that no driver makes. Nothing of them may end the machine, and afterwards everything still works.
#include "cases.h"

enum { kAllOnes8 = 0xff, kAllOnes16 = 0xffff };
static const uint32_t kAllOnes32 = 0xffffffff;

// Ports whose writes mean an end: PM1 control, reset control, keyboard controller commands, system control, debug exit.
static bool ends_machine(uint32_t port) {
  return (port >= 0x5fd && port <= 0x60b) || (port >= 0xcf6 && port <= 0xcf9) || (port >= 0x61 && port <= 0x64) ||
         (port >= 0x8f && port <= 0x92) || (port >= 0xf1 && port <= 0xf7);
}

void scan_ports(void) {
  for (uint32_t port = 0; port < 0x10000; port++) {
    (void)in8((uint16_t)port);
    if (port < 0xffff) (void)in16((uint16_t)port);
    if (port < 0xfffd) (void)in32((uint16_t)port);
  }
  print("payload: all ports read\n");
  for (uint32_t port = 0; port < 0x10000; port++) {
    if (ends_machine(port) || (port >= 0x3f0 && port <= 0x3ff)) continue;
    out8((uint16_t)port, 0);
    if (port < 0xffff) out16((uint16_t)port, kAllOnes16);
    if (port < 0xfffd) out32((uint16_t)port, 0x5aa55aa5);
  }
  expect(in8(0x1234) == kAllOnes8, "an absent port reads as ones", in8(0x1234));
  expect(in16(0x1234) == kAllOnes16, "an absent port reads as ones", in16(0x1234));
  expect(in32(0x1234) == kAllOnes32, "an absent port reads as ones", in32(0x1234));
  // Ranges that end in the middle of an access.
  expect(in32(0xfffc) == kAllOnes32, "the last port reads as ones", in32(0xfffc));
}

static void touch(uint32_t address) {
  (void)*at8(address);
  (void)*at16(address + 1);
  (void)*at32(address + 3);
  *at8(address) = 0xff;
  *at16(address + 1) = 0x5aa5;
  *at32(address + 3) = 0xffffffff;
}

// The hole below 4 GiB, devices included, but for the interrupt controllers and the last pages, where KVM keeps some.
void scan_memory(void) {
  for (uint32_t address = 0xc0000000; address < 0xfec00000; address += 0x11000) touch(address);
  // Borders: the windows of BARs and configuration space.
  static const uint32_t borders[] = {0xc0000000, 0xc0008000, 0xdffffff0, 0xe0000000,
                                     0xe00ffff8, 0xe0100000, 0xfed00000};
  for (unsigned i = 0; i < sizeof borders / sizeof *borders; i++) touch(borders[i]);
  expect(*at32(0xd5550000) == kAllOnes32, "absent memory reads as ones", *at32(0xd5550000));
}

static void every_width(unsigned slot, unsigned offset, uint32_t value) {
  pci_write32(slot, offset, value);
  pci_write16(slot, offset, (uint16_t)value);
  pci_write16(slot, offset + 2, (uint16_t)(value >> 16));
  for (unsigned byte = 0; byte < 4; byte++) pci_write8(slot, offset + byte, (uint8_t)(value >> 8 * byte));
  (void)pci_read32(slot, offset);
}

// The address register in odd widths, and what is not there.
static void odd_widths(void) {
  pci_select(0, PCI_VENDOR_ID);
  const uint32_t selected = in32(0xcf8), identity = in32(0xcfc);
  out8(0xcf8, 0x40);
  out16(0xcf8, 0x4040);
  out16(0xcfa, 0x4040);
  out8(0xcfb, 0);
  expect(in32(0xcf8) == selected, "narrow writes leave CONFIG_ADDRESS alone", in32(0xcf8));
  expect(in32(0xcfc) == identity, "the host bridge shows itself", in32(0xcfc));
  expect(in8(0xcfd) == (identity >> 8 & 0xff), "bytes of CONFIG_DATA", in8(0xcfd));
  expect(in16(0xcfe) == identity >> 16, "words of CONFIG_DATA", in16(0xcfe));
  (void)in32(0xcfa), (void)in32(0xcff), (void)in16(0xcff);
  out32(0xcfd, kAllOnes32), out32(0xcfe, kAllOnes32), out32(0xcff, kAllOnes32);
  out32(0xcf8, 1u << 31 | 5 << 16);  // bus 5
  expect(in32(0xcfc) == kAllOnes32, "an absent bus reads as ones", in32(0xcfc));
  out32(0xcf8, 1u << 31 | 7 << 8);  // function 7
  expect(in32(0xcfc) == kAllOnes32, "an absent function reads as ones", in32(0xcfc));
  out32(0xcf8, 1u << 31 | 31 << 11);
  expect(in32(0xcfc) == kAllOnes32, "an absent device reads as ones", in32(0xcfc));
  out32(0xcf8, 0);  // disabled
  expect(in32(0xcfc) == kAllOnes32, "a disabled CONFIG_ADDRESS reads as ones", in32(0xcfc));
}

void abuse_pci(void) {
  static const uint32_t values[] = {0, 0xffffffff, 0x5aa55aa5, 0x80000000, 0x00000002};
  // Memory where a BAR has no business: RAM, configuration space, both interrupt controllers, the end.
  static const uint32_t places[] = {0, 0x00100000, 0xe0000000, 0xfec00000, 0xfee00000, 0xffff8000};
  odd_widths();
  for (unsigned slot = 0; slot < 32; slot++) {
    if (pci_read16(slot, PCI_VENDOR_ID) == kAllOnes16) continue;
    uint32_t before[64];
    for (unsigned i = 0; i < 64; i++) before[i] = pci_read32(slot, 4 * i);
    for (unsigned i = 0; i < 64; i++)
      for (unsigned v = 0; v < sizeof values / sizeof *values; v++) every_width(slot, 4 * i, values[v]);
    for (unsigned p = 0; p < sizeof places / sizeof *places; p++) {
      pci_write16(slot, PCI_COMMAND, PCI_COMMAND_MEMORY);
      pci_write32(slot, PCI_BASE_ADDRESS_0, places[p]);
      pci_write16(slot, PCI_COMMAND, 0);
    }
    for (unsigned i = 0; i < 64; i++) pci_write32(slot, 4 * i, before[i]);
    // The window at 0x14 of the virtio PCI capability reads and writes through, so compare what identifies.
    expect(pci_read32(slot, PCI_VENDOR_ID) == before[0], "identity is read-only", pci_read32(slot, PCI_VENDOR_ID));
    expect(pci_read32(slot, PCI_BASE_ADDRESS_0) == before[4], "the BAR is back", pci_read32(slot, PCI_BASE_ADDRESS_0));
  }
  struct virtio rng;
  expect(virtio_find(&rng, kVirtioRng, 0), "virtio-rng is there", 0);
  good_entropy(&rng, "configuration space was overwritten");
}

// Indices beyond the memory, garbage in every register, alarms that never or always match.
void abuse_clock(void) {
  enum { kIndex = 0x70, kData = 0x71, kStatusA = 10, kStatusB = 11, kStatusC = 12, kSet = 0x80, kBinary24 = 0x06 };
  enum { kPeriodic = 0x40, kSecondPic = 0xa0, kPoll = 0x0c, kLine = 0x07 };
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned index = 0; index < 256; index++) {
      out8(kIndex, (uint8_t)index);
      (void)in8(kData);
      static const uint8_t values[] = {0xff, 0x00, 0xaa, 0x7f};
      out8(kData, values[round]);
      (void)in8(kData);
    }
    for (unsigned index = 0; index < 14; index++) out8(kIndex, (uint8_t)index), (void)in8(kData);
  }
  out8(kIndex, kStatusB), out8(kData, kSet | kBinary24);
  static const uint8_t time[10] = {0, 0, 30, 0, 12, 0, 6, 15, 8, 25};  // a Friday's noon; alarms at 0
  for (unsigned index = 0; index < 10; index++) out8(kIndex, (uint8_t)index), out8(kData, time[index]);
  out8(kIndex, 0x32), out8(kData, 20);
  out8(kIndex, kStatusA), out8(kData, 0x26);
  out8(kIndex, kStatusB), out8(kData, kBinary24);
  out8(kIndex, kStatusC), (void)in8(kData);
  out8(kIndex, 2);
  expect(in8(kData) == 30, "the clock can be set after all this: minutes", in8(kData));
  out8(kIndex, 4);
  expect(in8(kData) == 12, "the clock can be set after all this: hours", in8(kData));

  // The second interrupt controller, when polled, gives its line that interrupts, and takes it: the clock's is 0. It
  // gives 7 when there is none. An interrupt from before may still wait there.
  do {
    out8(kSecondPic, kPoll);
  } while ((in8(kSecondPic) & kLine) != kLine);
  out8(kIndex, kStatusB), out8(kData, kPeriodic | kBinary24);
  for (unsigned ticks = 0; ticks < 3; ticks++) {
    unsigned polls = 0;
    do {
      out8(kSecondPic, kPoll);
    } while ((in8(kSecondPic) & kLine) != 0 && ++polls < 1000000);
    out8(kIndex, kStatusC);
    expect(polls < 1000000 && (in8(kData) & kPeriodic) != 0, "the clock interrupts after all this", polls);
  }
  out8(kIndex, kStatusB), out8(kData, kBinary24);
}

// Every value in every register, divisor 0 and flips of DLAB included.
void abuse_serial(void) {
  static const uint16_t bases[] = {0x3f8, 0x2f8};
  for (unsigned b = 0; b < 2; b++) {
    for (unsigned value = 0; value < 256; value++)
      for (uint16_t offset = 0; offset < 8; offset++) {
        out8((uint16_t)(bases[b] + offset), (uint8_t)value);
        (void)in8((uint16_t)(bases[b] + offset));
        (void)in32((uint16_t)(bases[b] + offset));
        out16((uint16_t)(bases[b] + offset), (uint16_t)(value * 0x101));
      }
    out8((uint16_t)(bases[b] + 3), 0x80), out8(bases[b], 0), out8((uint16_t)(bases[b] + 1), 0);  // divisor 0
    out8((uint16_t)(bases[b] + 3), 0x03), out8((uint16_t)(bases[b] + 1), 0);
    out8((uint16_t)(bases[b] + 2), 0x07), out8((uint16_t)(bases[b] + 4), 0x0b);
  }
  print("\npayload: the line works\n");
}

void use_testdev(void) {
  enum { kInput11 = 0x200b, kInput14 = 0x200e, kSecondPic = 0xa0, kReadRequests = 0x0a };
  enum { kItsInput3 = 0x08, kItsInput6 = 0x40 };
  static volatile uint32_t word;
  out32(0xe0, 0x12345678), out8(0xe1, 0xab);
  expect(in32(0xe0) == 0x1234ab78, "its ports keep what is written", in32(0xe0));
  *at32(0xff000ffe) = 0x5aa55aa5;  // from one page to the next
  expect(*at32(0xff000ffe) == 0x5aa55aa5, "its memory keeps what is written", *at32(0xff000ffe));
  out8(kSecondPic, kReadRequests);
  expect((in8(kSecondPic) & kItsInput6) == 0, "input 14 is low at first", in8(kSecondPic));
  out8(kInput14, 1);
  expect((in8(kSecondPic) & kItsInput6) != 0, "input 14 rises", in8(kSecondPic));
  out8(kInput14, 0);
  out8(kInput11, 1), out8(kInput11, 0);
  expect((in8(kSecondPic) & kItsInput3) != 0, "a pulse of input 11, which no device has, is kept", in8(kSecondPic));
  for (uint32_t round = 0; round < argument("rounds", 0); round++) {
    word = round;
    out32(0xe4, (uint32_t)(uintptr_t)&word);
    expect(word == round, "a page that is looked up anew is the same", word);
  }
}
