// What payloads run on: ports, the serial line, the command line, and ways to end. A payload is a freestanding 32-bit
// Multiboot kernel (start.S) with boot(), called at CPL 0, and main(), called at CPL 3 with all ports open. Both it and
// the drivers beside it ask for nothing that is not in any PC with PCI, so that other monitors run payloads as well.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void boot(void);
int main(void);  // its result is the status

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// Memory of devices, at any width.
static inline volatile uint8_t* at8(uint32_t address) { return (volatile uint8_t*)(uintptr_t)address; }
static inline volatile uint16_t* at16(uint32_t address) { return (volatile uint16_t*)(uintptr_t)address; }
static inline volatile uint32_t* at32(uint32_t address) { return (volatile uint32_t*)(uintptr_t)address; }

static inline uint64_t ticks(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}
// About a second on a CPU of today; more on a slower one. Only ever a bound.
#define kSecond 3000000000ull
static inline bool passed(uint64_t since, uint64_t span) { return ticks() - since > span; }
static inline void relax(void) { __asm__ volatile("pause" ::: "memory"); }
static inline void full_fence(void) { __asm__ volatile("lock; addl $0, (%%esp)" ::: "memory"); }
static inline void compiler_fence(void) { __asm__ volatile("" ::: "memory"); }

// COM1. %s, %u and %x (32 bits), %c.
void print(const char* format, ...);
void print_raw(char c);  // without asking whether the line is ready

// The interrupt table register as it was at the start: a limit of 16 bits, then an address of 32.
extern const uint16_t first_idt[3];

// The words of the command line: name=value.
extern const char* command_line;
bool argument_is(const char* name, const char* value);
uint32_t argument(const char* name, uint32_t otherwise);

// A test's verdicts: what fails is printed, and finish() ends with 1 then instead of `status`.
void expect(bool holds, const char* what, uint32_t value);
// Through the debug-exit port 0xf4, else by ACPI.
void finish(int status) __attribute__((noreturn));

// By what the FADT and the DSDT say.
void acpi_power_off(void);
void acpi_reset(void);

void* memset(void* to, int value, size_t count);
void* memcpy(void* restrict to, const void* restrict from, size_t count);
