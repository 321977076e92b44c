// Serial line, command line and endings; see runtime.h.
#include "runtime.h"

#include <stdarg.h>

enum { kCom1 = 0x3f8, kLineStatus = kCom1 + 5, kTransmitterEmpty = 0x20, kDebugExit = 0xf4 };

const char* command_line;
static bool failed;

void print_raw(char c) { out8(kCom1, (uint8_t)c); }

static void print_char(char c) {
  while (!(in8(kLineStatus) & kTransmitterEmpty)) relax();
  print_raw(c);
}

static void print_number(uint32_t value, uint32_t base) {
  char digits[11];
  int count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  while (count) print_char(digits[--count]);
}

void print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format; format++) {
    if (*format != '%') {
      print_char(*format);
      continue;
    }
    switch (*++format) {
      case 's':
        for (const char* text = va_arg(arguments, const char*); *text; text++) print_char(*text);
        break;
      case 'u':
        print_number(va_arg(arguments, uint32_t), 10);
        break;
      case 'x':
        print_number(va_arg(arguments, uint32_t), 16);
        break;
      case 'c':
        print_char((char)va_arg(arguments, int));
        break;
    }
  }
  va_end(arguments);
}

// The text behind `name=`, or null.
static const char* find(const char* name) {
  for (const char* word = command_line; word && *word;) {
    const char *w = word, *n = name;
    while (*n && *w == *n) w++, n++;
    if (!*n && *w == '=') return w + 1;
    while (*word && *word != ' ') word++;
    while (*word == ' ') word++;
  }
  return NULL;
}

bool argument_is(const char* name, const char* value) {
  const char* found = find(name);
  if (!found) return false;
  while (*value && *found == *value) found++, value++;
  return !*value && (!*found || *found == ' ');
}

uint32_t argument(const char* name, uint32_t otherwise) {
  const char* found = find(name);
  if (!found) return otherwise;
  uint32_t value = 0;
  for (; *found >= '0' && *found <= '9'; found++) value = value * 10 + (uint32_t)(*found - '0');
  return value;
}

void expect(bool holds, const char* what, uint32_t value) {
  if (holds) return;
  failed = true;
  print("payload: FAILED: %s (%x)\n", what, value);
}

void finish(int status) {
  if (failed) status = 1;
  out32(kDebugExit, (uint32_t)status);
  acpi_power_off();
  for (;;) relax();
}

// In the order in which the CPU and the stubs push.
struct exception {
  uint32_t vector, code, eip, cs, eflags;
};

void exception(const struct exception* e) {
  print("payload: exception %u, code %x, at %x:%x\n", e->vector, e->code, e->cs, e->eip);
  failed = true;
  finish(1);
}

// gcc makes calls of these from loops and initialisers.
void* memset(void* to, int value, size_t count) {
  for (uint8_t* byte = to; count; count--) *byte++ = (uint8_t)value;
  return to;
}
void* memcpy(void* restrict to, const void* restrict from, size_t count) {
  const uint8_t* source = from;
  for (uint8_t* byte = to; count; count--) *byte++ = *source++;
  return to;
}
