// Standard output, for what a verb prints (reports, logs, TAP). It is buffered, and a write that fails does so anywhere
// between the first word and the last: the first failure is remembered until somebody asks.
#pragma once

#include <string_view>

namespace vmm {

void print(std::string_view text);
// Writes what is still buffered, so that a reader sees it now.
void flush_print();
// For the end of a program: throws Error when something that was printed is lost. A reader who went away has read
// enough.
void finish_print();

}  // namespace vmm
