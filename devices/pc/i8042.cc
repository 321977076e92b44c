// The controller's commands; see i8042.h.
#include "devices/pc/i8042.h"

#include <utility>

namespace vmm {

namespace {

constexpr uint64_t kDataOffset = 0;
constexpr uint64_t kCommandOffset = 4;

enum : uint8_t {  // the status register, with the manual's names
  STATUS_OBF = 0x01,
  STATUS_SYS = 0x04,
  STATUS_KEYLOCK = 0x10,  // set: not locked
  STATUS_TIMEOUT = 0x40,
};
enum : uint8_t {
  READ_CONFIGURATION = 0x20,
  WRITE_CONFIGURATION = 0x60,
  DISABLE_AUX = 0xa7,
  ENABLE_AUX = 0xa8,
  TEST_AUX = 0xa9,
  SELF_TEST = 0xaa,
  TEST_KEYBOARD = 0xab,
  DISABLE_KEYBOARD = 0xad,
  ENABLE_KEYBOARD = 0xae,
  READ_OUTPUT_PORT = 0xd0,
  WRITE_OUTPUT_PORT = 0xd1,
  WRITE_KEYBOARD_OUTPUT = 0xd2,
  WRITE_AUX_OUTPUT = 0xd3,
  WRITE_AUX = 0xd4,
  PULSE_OUTPUT_PORT = 0xf0,  // to 0xff; a zero in the low bits pulls that line
};
constexpr uint8_t kResetLine = 0x01;   // of the output port, active low
constexpr uint8_t kOutputPort = 0x03;  // reset released, A20 open
constexpr uint8_t kSelfTestPassed = 0x55;
constexpr uint8_t kPortWorks = 0x00;
constexpr uint8_t kClockStuckLow = 0x01;  // how the test of a port that is not there ends
constexpr uint8_t kResend = 0xfe;         // what the controller answers when the device does not
constexpr uint8_t kKeyboardClockOff = 0x10;
constexpr uint8_t kAuxClockOff = 0x20;

}  // namespace

void I8042::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (std::byte& byte : data) {
    uint8_t value = 0xff;
    if (offset == kDataOffset) value = read_data();
    if (offset == kCommandOffset) value = read_status();
    byte = std::byte{value};
    ++offset;
  }
}

void I8042::write(uint64_t offset, std::span<const std::byte> data) {
  bool resets = false;
  {
    const std::lock_guard lock(mutex_);
    for (const std::byte byte : data) {
      const auto value = std::to_integer<uint8_t>(byte);
      if (offset == kDataOffset) resets |= write_data(value);
      if (offset == kCommandOffset) resets |= write_command(value);
      ++offset;
    }
  }
  if (resets) reset_();
}

uint8_t I8042::read_data() {
  timed_out_ = false;
  return std::exchange(output_, std::nullopt).value_or(0);
}

uint8_t I8042::read_status() const {
  return static_cast<uint8_t>(STATUS_SYS | STATUS_KEYLOCK | (output_ ? STATUS_OBF : 0) |
                              (timed_out_ ? STATUS_TIMEOUT : 0));
}

// True when the reset line was pulled.
bool I8042::write_data(uint8_t value) {
  switch (std::exchange(expecting_, uint8_t{0})) {
    case WRITE_CONFIGURATION:
      configuration_ = value;
      return false;
    case WRITE_OUTPUT_PORT:
      return (value & kResetLine) == 0;
    case WRITE_KEYBOARD_OUTPUT:
    case WRITE_AUX_OUTPUT:  // without an auxiliary port both are the same buffer
      output_ = value;
      return false;
    default:  // for a device that is not there
      output_ = kResend;
      timed_out_ = true;
      return false;
  }
}

// True when the reset line was pulled.
bool I8042::write_command(uint8_t command) {
  expecting_ = 0;
  timed_out_ = false;
  switch (command) {
    case READ_CONFIGURATION:
      output_ = configuration_;
      break;
    case SELF_TEST:
      output_ = kSelfTestPassed;
      break;
    case TEST_KEYBOARD:
      output_ = kPortWorks;
      break;
    case TEST_AUX:
      output_ = kClockStuckLow;
      break;
    case READ_OUTPUT_PORT:
      output_ = kOutputPort;
      break;
    case DISABLE_KEYBOARD:
      configuration_ |= kKeyboardClockOff;
      break;
    case ENABLE_KEYBOARD:
      configuration_ &= static_cast<uint8_t>(~kKeyboardClockOff);
      break;
    case DISABLE_AUX:
      configuration_ |= kAuxClockOff;
      break;
    case ENABLE_AUX:
      configuration_ &= static_cast<uint8_t>(~kAuxClockOff);
      break;
    case WRITE_CONFIGURATION:
    case WRITE_OUTPUT_PORT:
    case WRITE_KEYBOARD_OUTPUT:
    case WRITE_AUX_OUTPUT:
    case WRITE_AUX:
      expecting_ = command;
      break;
    default:
      return command >= PULSE_OUTPUT_PORT && (command & kResetLine) == 0;
  }
  return false;
}

}  // namespace vmm
