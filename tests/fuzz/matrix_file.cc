// vmm.toml, as words of the language in any order, many times over, and bytes: it is read, or refused.
#include "vmm/control/matrix/matrix_file.h"

#include <array>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_input.h"
#include "vmm/core/error.h"

using namespace vmm;

void vmm::test::fuzz(FuzzInput& input) {
  constexpr std::array<std::string_view, 32> kWords = {"[",
                                                       "]",
                                                       "[[kernel]]\n",
                                                       "[[config]]\n",
                                                       "[[command]]\n",
                                                       "[run]\n",
                                                       "{",
                                                       "}",
                                                       "=",
                                                       ".",
                                                       ",",
                                                       "\"",
                                                       "\"\"\"",
                                                       "'",
                                                       "'''",
                                                       "\n",
                                                       "#",
                                                       "name",
                                                       "run",
                                                       "cpus",
                                                       "timeout",
                                                       "true",
                                                       "inf",
                                                       "0x1",
                                                       "1e9",
                                                       "-",
                                                       "1979-05-27",
                                                       "T07:32:00",
                                                       "+01:00",
                                                       "\\",
                                                       "\\u0041",
                                                       "a."};
  std::string text;
  while (input.next_step()) {
    if (input.take_bool()) {
      const std::string_view word = kWords[input.take_below(kWords.size())];
      const size_t times = input.take_bool() ? input.take_below(5000) : 1;
      for (size_t i = 0; i < times; ++i) text += word;
    } else {
      text += static_cast<char>(input.take_below(256));
    }
  }
  try {
    parse_test_file(text, "vmm.toml");
  } catch (const Error&) {
  }
}
