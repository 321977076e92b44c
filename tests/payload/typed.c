// What is typed on the serial line: sent back, or answered as a kernel's kgdb does.
#include "cases.h"

enum { RECEIVE = 0x3f8, LINE_STATUS = 0x3fd, READY = 1, BREAK = 0x10 };

static char typed(void) {
  while (!(in8(LINE_STATUS) & READY)) relax();
  return (char)in8(RECEIVE);
}

// Each character in angle brackets; it ends at a q.
void echo(void) {
  print("payload: echoing\n");
  for (char c = 0; c != 'q';) {
    c = typed();
    print("<%c>", c);
  }
}

// What the kernel says to a BREAK and a g, then the protocol's answers that gdb cannot do without, until it detaches.
void kgdb(void) {
  print("payload: a console\n");
  while (!(in8(LINE_STATUS) & BREAK)) relax();
  in8(RECEIVE);
  expect(typed() == 'g', "a g behind the BREAK", 0);
  print("payload: entered$\n");
  for (char asked = 0; asked != 'D';) {
    while (typed() != '$') {
    }
    asked = typed();
    while (typed() != '#') {
    }
    typed();
    typed();
    print("+%s", asked == '?' ? "$S05#b8" : asked == 'D' ? "$OK#9a" : "$#00");
  }
  print("payload: left\n");
}
