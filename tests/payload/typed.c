// What is typed on the serial line, sent back.
#include "cases.h"

enum { RECEIVE = 0x3f8, LINE_STATUS = 0x3fd, READY = 1 };

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
