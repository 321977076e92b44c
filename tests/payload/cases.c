// The test payload: runs case=NAME of cases.h, then ends with status=N (0 if not given) or, when something did not
// hold, 1.
#include "cases.h"

static void hello(void) { print("payload: hello\n"); }

// A kernel that goes back to real mode without a word about interrupts finds the vectors of the BIOS.
static void find_vectors(void) {
  enum { kEquipment = 0x11 };
  const uint32_t base = first_idt[1] | (uint32_t)first_idt[2] << 16;
  expect(first_idt[0] == 256 * 4 - 1, "there is room for all vectors", first_idt[0]);
  expect(base == 0, "they are at 0", base);
  expect(*at32(base + kEquipment * 4) != 0, "and lead to the BIOS", *at32(base + kEquipment * 4));
}

static const struct {
  const char* name;
  void (*run)(void);
} cases[] = {
    {"hello", hello},
    {"find-vectors", find_vectors},
    {"count-boots", count_boots},
    {"power-off", power_off},
    {"panic", panic},
    {"spin", spin},
    {"compute", compute},
    {"flood", flood},
    {"echo", echo},
    {"kgdb", kgdb},
    {"scan-ports", scan_ports},
    {"scan-memory", scan_memory},
    {"abuse-pci", abuse_pci},
    {"abuse-clock", abuse_clock},
    {"abuse-serial", abuse_serial},
    {"use-testdev", use_testdev},
    {"abuse-ring", abuse_ring},
    {"abuse-transport", abuse_transport},
    {"abuse-interrupts", abuse_interrupts},
    {"abuse-disk", abuse_disk},
    {"reset-while-busy", reset_while_busy},
};

void boot(void) {
  if (argument_is("case", "triple-fault")) triple_fault();
  if (argument_is("case", "unknown-instruction")) unknown_instruction();
  if (argument_is("case", "halt")) halt();
}

int main(void) {
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (!argument_is("case", cases[i].name)) continue;
    cases[i].run();
    print("payload: done\n");
    return (int)argument("status", 0);
  }
  print("payload: no such case in '%s'\n", command_line ? command_line : "");
  return 2;
}
