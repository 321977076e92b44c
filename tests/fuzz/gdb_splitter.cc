// A serial line that kgdb and a console share: any bytes from both sides, cut at will. Nothing is lost or made up: what
// the guest prints is text or gdb's.
#include "devices/backends/char/gdb_splitter.h"

#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace vmm;
using namespace vmm::test;

std::vector<std::byte> output(FuzzInput& input) {
  static constexpr std::array<std::string_view, 6> kBeginnings{"", "$", "$OK#9a", "$T05#b9", "+", "#"};
  std::vector<std::byte> bytes;
  for (const char byte : kBeginnings[input.take_below(kBeginnings.size())])
    bytes.push_back(static_cast<std::byte>(byte));
  const auto rest = input.take_bytes(input.take_below(256));
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  return bytes;
}

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  GdbSplitter splitter;
  size_t printed = 0, seen = 0;
  while (input.next_step()) {
    switch (input.take_below(4)) {
      case 0:
        splitter.set_gdb(input.take_bool());
        break;
      case 1: {
        std::vector<std::byte> text;
        splitter.flush(text);
        require(!splitter.holds());
        seen += text.size();
        break;
      }
      case 2: {
        const auto bytes = output(input);
        splitter.from_gdb(bytes, {.to_guest =
                                      [](const std::string& packet) {
                                        require(!packet.empty() && packet.size() <= GdbSplitter::kMostAsked);
                                      },
                                  .enter = [] {}});
        break;
      }
      default: {
        auto bytes = output(input);
        printed += bytes.size();
        seen += splitter.split(bytes).size();
        seen += bytes.size();
      }
    }
  }
  std::vector<std::byte> text;
  splitter.flush(text);
  require(printed == seen + text.size());
}
