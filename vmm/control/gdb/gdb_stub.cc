// The packets of gdb, one function each, and the machine that stops and goes for them; see gdb_stub.h.
#include "vmm/control/gdb/gdb_stub.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace vmm {

namespace {

constexpr size_t kMostBytes = GdbPacketReader::kMaxPayload / 2;  // in hexadecimal digits they fill a packet
constexpr unsigned kSigint = 2;
constexpr const char* kDone = "OK";
constexpr const char* kNotUnderstood = "E16";  // in hexadecimal: EINVAL
constexpr const char* kNoMemory = "E0e";       // EFAULT
constexpr const char* kRefused = "E01";        // EPERM
constexpr const char* kUnknown = "";
// gdb shows what is behind the second dot.
constexpr const char* kNoRegisterFree = "E.hardware.The CPU has four debug registers, and not enough are free";

// What a packet asks for: of q, Q and v packets a word, of others a letter.
std::string_view name_of(std::string_view payload) {
  const bool has_word = !payload.empty() && (payload[0] == 'q' || payload[0] == 'Q' || payload[0] == 'v');
  return payload.substr(0, has_word ? payload.find_first_of(":;,?") : 1);
}

// A part of a document, as qXfer gives it.
std::string part_of(const std::string& document, uint64_t offset, uint64_t length) {
  if (offset >= document.size()) return "l";
  const std::string part = document.substr(offset, std::min<uint64_t>(length, kMostBytes));
  return (offset + part.size() == document.size() ? "l" : "m") + part;
}

}  // namespace

const std::vector<GdbStub::Command> GdbStub::kCommands{
    {"?", &GdbStub::tell_stop},
    {"qSupported", &GdbStub::tell_supported},
    {"qfThreadInfo", &GdbStub::tell_threads},
    {"qsThreadInfo", &GdbStub::tell_no_more},
    {"qThreadExtraInfo", &GdbStub::tell_thread},
    {"qC", &GdbStub::tell_current},
    {"qAttached", &GdbStub::tell_attached},
    {"qOffsets", &GdbStub::tell_offsets},
    {"qSymbol", &GdbStub::accept},
    {"qXfer", &GdbStub::transfer},
    {"qRcmd", &GdbStub::monitor},
    {"QStartNoAckMode", &GdbStub::acknowledge_no_more},
    {"H", &GdbStub::choose_thread},
    {"T", &GdbStub::is_alive},
    {"g", &GdbStub::read_registers},
    {"G", &GdbStub::write_registers},
    {"p", &GdbStub::read_register},
    {"P", &GdbStub::write_register},
    {"m", &GdbStub::read_memory},
    {"M", &GdbStub::write_digits},
    {"X", &GdbStub::write_bytes},
    {"Z", &GdbStub::insert_breakpoint},
    {"z", &GdbStub::remove_breakpoint},
    {"vCont", &GdbStub::resume_each},
    {"c", &GdbStub::go_on},
    {"C", &GdbStub::go_on},
    {"s", &GdbStub::step},
    {"S", &GdbStub::step},
    {"D", &GdbStub::leave},
    {"k", &GdbStub::kill},
    {"vKill", &GdbStub::kill},
};

GdbStub::GdbStub(GdbTarget& target, Send send)
    : target_(target), send_(std::move(send)), memory_(target, breakpoints_) {}

void GdbStub::packet(std::string_view payload) {
  if (!attached_) {
    attached_ = true;
    running_ = false;
    cpu_ = 0;
    last_stop_ = {};
    target_.stop();
    target_.take_events();
  }
  if (const Answer text = answer(payload)) send_(*text);
}

GdbStub::Answer GdbStub::answer(std::string_view payload) {
  const std::string_view name = name_of(payload);
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  if (found == kCommands.end()) return kUnknown;
  // While the machine runs there is nothing that could be asked of it, but to end that.
  const bool ends = found->serve == &GdbStub::kill || found->serve == &GdbStub::leave;
  if (running_ && !ends) return kRefused;
  return (this->*found->serve)(GdbWords(payload.substr(name.size())));
}

void GdbStub::interrupt() {
  if (!attached_ || !running_) return;
  target_.stop();
  std::ranges::move(target_.take_events(), std::back_inserter(waiting_));
  stop_at({.cpu = cpu_, .signal = kSigint});
}

void GdbStub::detach() {
  if (!attached_) return;
  if (running_) target_.stop();
  breakpoints_.remove_all(target_.memory());
  waiting_.clear();
  attached_ = false;
  running_ = true;
  acknowledges_ = true;
  says_why_ = false;
  target_.leave();
}

// ---- stopping and going on

void GdbStub::on_event() {
  if (!attached_) return target_.leave();
  std::vector<GdbTarget::Event> events = target_.take_events();
  std::optional<Stop> stop;
  for (const GdbTarget::Event& event : events) {
    if (!running_ || stop) {
      waiting_.push_back(event);
    } else {
      stop = reason_of(event);
    }
  }
  if (stop) return stop_at(*stop);
  if (running_) target_.go(orders_, breakpoints_.debug());
}

void GdbStub::on_new_machine() {
  breakpoints_.forget();
  waiting_.clear();
  if (attached_ && running_) stop_at({});
}

std::optional<GdbStub::Stop> GdbStub::reason_of(const GdbTarget::Event& event) {
  const DebugEvent& what = event.what;
  if (what.kernel_entered) return kernel_entered(event.cpu);
  if (what.breakpoint) {
    // Another process may have the same page elsewhere.
    const auto where = memory_.translate(event.cpu, what.pc);
    if (where && breakpoints_.is_patched(*where)) return Stop{.cpu = event.cpu, .why = "swbreak:;"};
  } else {
    if (auto stop = met_point(event)) return stop;
    if (what.stepped && event.cpu < orders_.size() && orders_[event.cpu].run == GdbTarget::Run::kStep) {
      return Stop{.cpu = event.cpu};
    }
    if (what.points != 0) return std::nullopt;  // of one that has been removed since
  }
  target_.give_to_guest(event);
  return std::nullopt;
}

// Breakpoints that waited for the kernel to be there are put into it. One that KASLR has moved has them elsewhere than
// gdb thinks.
std::optional<GdbStub::Stop> GdbStub::kernel_entered(unsigned cpu) {
  breakpoints_.settle(target_.memory(), [this, cpu](uint64_t address) { return memory_.translate(cpu, address); });
  const uint64_t offset = target_.kaslr().value_or(GdbTarget::Kaslr{}).offset;
  if (offset == told_offset_) return std::nullopt;
  send_("O" +
        to_hex(fmt::format("KASLR has moved the kernel by {0:#x}; now: symbol-file -o {0:#x} vmlinux\n", offset)));
  return Stop{.cpu = cpu};
}

std::optional<GdbStub::Stop> GdbStub::met_point(const GdbTarget::Event& event) const {
  for (size_t i = 0; i < GuestDebug::kPoints; ++i) {
    const auto met = (event.what.points >> i & 1) != 0 ? breakpoints_.met(i, event.what.pc) : std::nullopt;
    if (!met) continue;
    switch (met->kind) {
      case GdbBreakpoints::Kind::kSoftware:
        return Stop{.cpu = event.cpu, .why = "swbreak:;"};
      case GdbBreakpoints::Kind::kHardware:
        return Stop{.cpu = event.cpu, .why = "hwbreak:;"};
      case GdbBreakpoints::Kind::kWrite:
        return Stop{.cpu = event.cpu, .why = fmt::format("watch:{:x};", met->address)};
      case GdbBreakpoints::Kind::kAccess:
        return Stop{.cpu = event.cpu, .why = fmt::format("awatch:{:x};", met->address)};
    }
  }
  return std::nullopt;
}

void GdbStub::stop_at(const Stop& stop) {
  running_ = false;
  cpu_ = stop.cpu;
  last_stop_ = stop;
  send_(text_of(stop));
}

std::string GdbStub::text_of(const Stop& stop) const {
  const bool is_breakpoint = stop.why.starts_with("swbreak") || stop.why.starts_with("hwbreak");
  return fmt::format("T{:02x}thread:{:x};{}", stop.signal, stop.cpu + 1, is_breakpoint && !says_why_ ? "" : stop.why);
}

// What was met beside the last stop comes first, unless it would be met again anyway: an INT3 is.
GdbStub::Answer GdbStub::go(std::vector<GdbTarget::Order> orders) {
  orders_ = std::move(orders);
  running_ = true;
  while (!waiting_.empty()) {
    const GdbTarget::Event event = waiting_.front();
    waiting_.erase(waiting_.begin());
    if (const auto stop = met_point(event)) {
      stop_at(*stop);
      return std::nullopt;
    }
  }
  target_.go(orders_, breakpoints_.debug());
  return std::nullopt;
}

// ";ACTION[:THREAD]...": a thread takes the first that is for it, and without one stays.
std::optional<std::vector<GdbTarget::Order>> GdbStub::parse_actions(GdbWords words) const {
  std::vector<std::optional<GdbTarget::Order>> orders(target_.cpus());
  if (!words.take(";")) return std::nullopt;
  while (!words.empty()) {
    GdbWords action(words.take_until(';'));
    GdbTarget::Order order;
    // A machine takes no signals: the number behind C and S means nothing.
    if (action.take("c") || (action.take("C") && action.take_number())) {
      order.run = GdbTarget::Run::kGo;
    } else if (action.take("s") || (action.take("S") && action.take_number())) {
      order.run = GdbTarget::Run::kStep;
    } else if (action.take("r")) {
      const auto start = action.take_number();
      const bool comma = action.take(",");
      const auto end = action.take_number();
      if (!start || !comma || !end) return std::nullopt;
      order = {GdbTarget::Run::kStep, *start, *end};
    } else {
      return std::nullopt;
    }
    const bool for_one = action.take(":") && action.rest() != "-1";
    if (!for_one) {
      if (!action.empty() && action.rest() != "-1") return std::nullopt;
      for (auto& taken : orders) taken = taken ? taken : order;
      continue;
    }
    const auto cpu = cpu_of(action.rest());
    if (!cpu) return std::nullopt;
    orders[*cpu] = orders[*cpu] ? orders[*cpu] : order;
  }
  std::vector<GdbTarget::Order> all;
  all.reserve(orders.size());
  for (const auto& order : orders) all.push_back(order.value_or(GdbTarget::Order{}));
  return all;
}

GdbStub::Answer GdbStub::resume_each(GdbWords words) {
  if (words.take("?")) return "vCont;c;C;s;S;r";
  auto orders = parse_actions(words);
  if (!orders) return kNotUnderstood;
  return go(std::move(*orders));
}

GdbStub::Answer GdbStub::go_on(GdbWords) { return go({target_.cpus(), {.run = GdbTarget::Run::kGo}}); }

GdbStub::Answer GdbStub::step(GdbWords) {
  std::vector<GdbTarget::Order> orders(target_.cpus());
  orders[cpu_].run = GdbTarget::Run::kStep;
  return go(std::move(orders));
}

GdbStub::Answer GdbStub::leave(GdbWords) {
  send_(kDone);
  detach();
  return std::nullopt;
}

GdbStub::Answer GdbStub::kill(GdbWords) {
  target_.kill();
  return kDone;
}

// ---- what gdb wants to know first

GdbStub::Answer GdbStub::tell_stop(GdbWords) { return text_of(last_stop_); }

GdbStub::Answer GdbStub::tell_supported(GdbWords words) {
  says_why_ = words.rest().find("swbreak+") != std::string_view::npos;
  return fmt::format(
      "PacketSize={:x};qXfer:features:read+;qXfer:threads:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
      GdbPacketReader::kMaxPayload);
}

GdbStub::Answer GdbStub::accept(GdbWords) { return kDone; }

GdbStub::Answer GdbStub::acknowledge_no_more(GdbWords) {
  acknowledges_ = false;
  return kDone;
}

// qAttached: the machine was there before gdb, so gdb detaches when it is quit, and does not kill.
GdbStub::Answer GdbStub::tell_attached(GdbWords) { return "1"; }

// The kernel's first segment is where it is linked to, moved by KASLR.
GdbStub::Answer GdbStub::tell_offsets(GdbWords) {
  const auto kaslr = target_.kaslr().value_or(GdbTarget::Kaslr{});
  told_offset_ = kaslr.offset;
  if (told_offset_ == 0) return kUnknown;
  return fmt::format("TextSeg={:x}", kaslr.first_segment);
}

GdbStub::Answer GdbStub::transfer(GdbWords words) {
  const bool features = words.take(":features:read:");
  if (!features && !words.take(":threads:read:")) return kUnknown;
  const std::string_view annex = words.take_until(':');
  const auto offset = words.take_number();
  const bool comma = words.take(",");
  const auto length = words.take_number();
  if (!offset || !comma || !length || !words.empty()) return kNotUnderstood;
  if (annex != (features ? "target.xml" : "")) return "E00";
  return part_of(features ? target_.register_table().description() : threads_document(), *offset, *length);
}

GdbStub::Answer GdbStub::monitor(GdbWords words) {
  const auto command = words.take(",") ? from_hex(words.rest()) : std::nullopt;
  if (!command) return kNotUnderstood;
  const std::string text = target_.monitor(*command);
  // One byte is the O.
  constexpr size_t kPart = kMostBytes - 1;
  for (size_t at = 0; at < text.size(); at += kPart) {
    send_("O" + to_hex(std::string_view(text).substr(at, kPart)));
  }
  return kDone;
}

// ---- threads

std::optional<unsigned> GdbStub::cpu_of(std::string_view thread) const {
  GdbWords words(thread);
  if (words.take("-1")) return words.empty() ? std::optional(cpu_) : std::nullopt;
  const auto number = words.take_number();
  if (!number || !words.empty() || *number > target_.cpus()) return std::nullopt;
  return *number == 0 ? cpu_ : static_cast<unsigned>(*number - 1);
}

GdbStub::Answer GdbStub::tell_threads(GdbWords) {
  std::string text = "m";
  for (unsigned cpu = 0; cpu < target_.cpus(); ++cpu) text += fmt::format("{}{:x}", cpu == 0 ? "" : ",", cpu + 1);
  return text;
}

GdbStub::Answer GdbStub::tell_no_more(GdbWords) { return "l"; }

GdbStub::Answer GdbStub::tell_thread(GdbWords words) {
  const auto cpu = words.take(",") ? cpu_of(words.rest()) : std::nullopt;
  if (!cpu) return kNotUnderstood;
  return to_hex(fmt::format("vCPU {}, {}", *cpu, target_.activity(*cpu)));
}

std::string GdbStub::threads_document() const {
  std::string text = "<?xml version=\"1.0\"?>\n<threads>\n";
  for (unsigned cpu = 0; cpu < target_.cpus(); ++cpu) {
    text += fmt::format("<thread id=\"{:x}\" core=\"{}\" name=\"vcpu{}\">{}</thread>\n", cpu + 1, cpu, cpu,
                        target_.activity(cpu));
  }
  return text + "</threads>\n";
}

GdbStub::Answer GdbStub::tell_current(GdbWords words) {
  if (!words.empty()) return kUnknown;
  return fmt::format("QC{:x}", cpu_ + 1);
}

// 'c' is about what to resume, which vCont says itself.
GdbStub::Answer GdbStub::choose_thread(GdbWords words) {
  const bool for_data = words.take("g");
  if (!for_data && !words.take("c")) return kNotUnderstood;
  const auto cpu = cpu_of(words.rest());
  if (!cpu) return kNotUnderstood;
  if (for_data) cpu_ = *cpu;
  return kDone;
}

GdbStub::Answer GdbStub::is_alive(GdbWords words) { return cpu_of(words.rest()) ? kDone : kNotUnderstood; }

// ---- registers

GdbStub::Answer GdbStub::read_registers(GdbWords) {
  return to_hex(target_.register_table().read_all(target_.registers(cpu_)));
}

GdbStub::Answer GdbStub::write_registers(GdbWords words) {
  const auto bytes = from_hex(words.rest());
  const RegisterFile before = target_.registers(cpu_);
  RegisterFile wanted = before;
  if (!bytes || !target_.register_table().write_all(wanted, *bytes)) return kNotUnderstood;
  return target_.set_registers(cpu_, before, wanted) ? kDone : kRefused;
}

GdbStub::Answer GdbStub::read_register(GdbWords words) {
  const auto number = words.take_number();
  const auto bytes = number ? target_.register_table().read(target_.registers(cpu_), *number) : std::nullopt;
  return bytes ? to_hex(*bytes) : std::string(kNotUnderstood);
}

GdbStub::Answer GdbStub::write_register(GdbWords words) {
  const auto number = words.take_number();
  const auto bytes = number && words.take("=") ? from_hex(words.rest()) : std::nullopt;
  const RegisterFile before = target_.registers(cpu_);
  RegisterFile wanted = before;
  if (!bytes || !target_.register_table().write(wanted, *number, *bytes)) return kNotUnderstood;
  return target_.set_registers(cpu_, before, wanted) ? kDone : kRefused;
}

// ---- memory

GdbStub::Answer GdbStub::read_memory(GdbWords words) {
  const auto address = words.take_number();
  const auto length = words.take(",") ? words.take_number() : std::nullopt;
  if (!address || !length) return kNotUnderstood;
  const std::string bytes = memory_.read(cpu_, *address, std::min<uint64_t>(*length, kMostBytes));
  return bytes.empty() && *length > 0 ? std::string(kNoMemory) : to_hex(bytes);
}

GdbStub::Answer GdbStub::write_digits(GdbWords words) { return write_memory(words, true); }
GdbStub::Answer GdbStub::write_bytes(GdbWords words) { return write_memory(words, false); }

GdbStub::Answer GdbStub::write_memory(GdbWords words, bool digits) {
  const auto address = words.take_number();
  const auto length = words.take(",") ? words.take_number() : std::nullopt;
  const bool colon = words.take(":");
  const auto bytes = digits ? from_hex(words.rest()) : std::string(words.rest());
  if (!address || !length || !colon || !bytes || bytes->size() != *length) return kNotUnderstood;
  return memory_.write(cpu_, *address, std::as_bytes(std::span(*bytes))) ? kDone : kNoMemory;
}

// ---- breakpoints: "TYPE,ADDRESS,LENGTH"

namespace {

struct BreakpointWords {
  GdbBreakpoints::Kind kind;
  uint64_t address;
  uint64_t length;
};

// Nothing for what is not understood; type 3 (reads alone) x86 does not have, and gdb makes do with 4 then.
std::optional<BreakpointWords> parse_breakpoint(GdbWords words) {
  using Kind = GdbBreakpoints::Kind;
  constexpr std::array<std::optional<Kind>, 5> kKinds{Kind::kSoftware, Kind::kHardware, Kind::kWrite, std::nullopt,
                                                      Kind::kAccess};
  const uint64_t type = words.take_number().value_or(kKinds.size());
  if (type >= kKinds.size() || !kKinds[type] || !words.take(",")) return std::nullopt;
  const auto address = words.take_number();
  if (!address || !words.take(",")) return std::nullopt;
  const auto length = words.take_number();
  if (!length) return std::nullopt;
  return BreakpointWords{*kKinds[type], *address, *length};
}

}  // namespace

GdbStub::Answer GdbStub::insert_breakpoint(GdbWords words) {
  const auto wanted = parse_breakpoint(words);
  if (!wanted) return kUnknown;
  const auto where =
      wanted->kind == GdbBreakpoints::Kind::kSoftware ? memory_.translate(cpu_, wanted->address) : std::nullopt;
  switch (breakpoints_.insert(target_.memory(), wanted->kind, wanted->address, wanted->length, where)) {
    case GdbBreakpoints::Result::kDone:
      return kDone;
    case GdbBreakpoints::Result::kNoRegisterFree:
      return kNoRegisterFree;
    case GdbBreakpoints::Result::kTooMany:
      break;
  }
  return kRefused;
}

GdbStub::Answer GdbStub::remove_breakpoint(GdbWords words) {
  const auto wanted = parse_breakpoint(words);
  if (!wanted) return kUnknown;
  breakpoints_.remove(target_.memory(), wanted->kind, wanted->address, wanted->length);
  return kDone;
}

}  // namespace vmm
