// How a machine ends.
#include "cases.h"

// An exception with no table to look up its handler, nor that of the double fault that follows.
void triple_fault(void) {
  static const uint8_t no_table[6];
  print("payload: triple fault\n");
  __asm__ volatile("lidt %0\n mov %1, %%ds" ::"m"(no_table), "r"(0xffff));
}

// Memory of a device, accessed by an instruction that KVM does not interpret on any CPU.
void unknown_instruction(void) {
  print("payload: unknown instruction\n");
  __asm__ volatile("paddd 0xd0000000, %mm0");
}

// Resets in the way by=8042|cf9|92|acpi until this is boot number boots=N, counting on the first disk.
void count_boots(void) {
  const uint32_t boots = next_boot();
  print("payload: boot %u\n", boots);
  if (boots >= argument("boots", 2)) return;
  if (argument_is("by", "8042")) out8(0x64, 0xfe);
  if (argument_is("by", "cf9")) out8(0xcf9, 0x02), out8(0xcf9, 0x06);
  if (argument_is("by", "92")) out8(0x92, 0x03);
  if (argument_is("by", "acpi")) acpi_reset();
  for (;;) relax();
}

void power_off(void) {
  print("payload: power off\n");
  acpi_power_off();
  for (;;) relax();
}

// Says what a kernel says that panics, and does not fall silent.
void panic(void) {
  print("payload: panic\nKernel panic - not syncing: payload\n");
  for (;;) {
    print("payload: still here\n");
    for (unsigned i = 0; i < 1000000; i++) relax();
  }
}

// Interrupts are off.
void spin(void) {
  print("payload: spinning\n");
  for (;;) relax();
}

// Nothing wakes it: interrupts are off.
void halt(void) {
  print("payload: halting\n");
  for (;;) __asm__ volatile("hlt");
}

// Interrupts are off, but it gets on, for so many millions=N of the time-stamp counter.
void compute(void) {
  print("payload: computing\n");
  const uint64_t end = __builtin_ia32_rdtsc() + (uint64_t)argument("millions", 100) * 1000000;
  uint64_t sum = 0;
  for (uint64_t i = 0; __builtin_ia32_rdtsc() < end; i++) sum += i ^ sum;
  print("payload: computed %u\n", (uint32_t)sum);
}

// kilobytes=N of output; hasty=1 does not ask whether the line is ready.
void flood(void) {
  const bool hasty = argument("hasty", 0);
  const uint32_t bytes = argument("kilobytes", 64) * 1024;
  for (uint32_t i = 0; i < bytes; i++) {
    const char c = i % 64 == 63 ? '\n' : 'x';
    if (hasty) print_raw(c);
    if (!hasty) print("%c", c);
  }
  if (hasty) finish((int)argument("status", 0));
}
