// Requests of the control socket: whatever they are, there is one line of answer.
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_controls.h"

void vmm::test::fuzz(FuzzInput& input) {
  FakeControls controls;
  controls.refuses = input.take_bool();
  const std::string line = input.take_rest();
  std::optional<std::string> text = answer(controls, line, [&text](const std::string& later) { text = later; });
  if (controls.dumping) controls.dumping(Error("no room"));
  require(text && text->starts_with("{") && text->find('\n') == std::string::npos);
  asks_for_events(line);
  if (const auto console = answer_console(controls, line)) require(console->text.starts_with("{"));
}
