// From a model's name to CPUID leaves; see cpu_model.h. Leaves: Intel SDM 2A CPUID, AMD APM 3 appendix E.
#include "vmm/kvm/x86_64/cpu_model.h"

#include <asm/prctl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

using Leaf = kvm_cpuid_entry2;

struct Feature {
  std::string_view name;  // as Linux prints it in /proc/cpuinfo
  uint32_t function;
  uint32_t index;
  uint32_t Leaf::*reg;
  unsigned bit;
};

constexpr Feature kFeatures[] = {
    {"pni", 1, 0, &Leaf::ecx, 0},
    {"pclmulqdq", 1, 0, &Leaf::ecx, 1},
    {"vmx", 1, 0, &Leaf::ecx, 5},
    {"ssse3", 1, 0, &Leaf::ecx, 9},
    {"fma", 1, 0, &Leaf::ecx, 12},
    {"cx16", 1, 0, &Leaf::ecx, 13},
    {"pcid", 1, 0, &Leaf::ecx, 17},
    {"sse4_1", 1, 0, &Leaf::ecx, 19},
    {"sse4_2", 1, 0, &Leaf::ecx, 20},
    {"x2apic", 1, 0, &Leaf::ecx, 21},
    {"movbe", 1, 0, &Leaf::ecx, 22},
    {"popcnt", 1, 0, &Leaf::ecx, 23},
    {"tsc_deadline_timer", 1, 0, &Leaf::ecx, 24},
    {"aes", 1, 0, &Leaf::ecx, 25},
    {"xsave", 1, 0, &Leaf::ecx, 26},
    {"avx", 1, 0, &Leaf::ecx, 28},
    {"f16c", 1, 0, &Leaf::ecx, 29},
    {"rdrand", 1, 0, &Leaf::ecx, 30},
    {"pse", 1, 0, &Leaf::edx, 3},
    {"tsc", 1, 0, &Leaf::edx, 4},
    {"mce", 1, 0, &Leaf::edx, 7},
    {"mtrr", 1, 0, &Leaf::edx, 12},
    {"pge", 1, 0, &Leaf::edx, 13},
    {"mca", 1, 0, &Leaf::edx, 14},
    {"pat", 1, 0, &Leaf::edx, 16},
    {"mmx", 1, 0, &Leaf::edx, 23},
    {"sse", 1, 0, &Leaf::edx, 25},
    {"sse2", 1, 0, &Leaf::edx, 26},
    {"ht", 1, 0, &Leaf::edx, 28},
    {"fsgsbase", 7, 0, &Leaf::ebx, 0},
    {"bmi1", 7, 0, &Leaf::ebx, 3},
    {"avx2", 7, 0, &Leaf::ebx, 5},
    {"smep", 7, 0, &Leaf::ebx, 7},
    {"bmi2", 7, 0, &Leaf::ebx, 8},
    {"erms", 7, 0, &Leaf::ebx, 9},
    {"invpcid", 7, 0, &Leaf::ebx, 10},
    {"rtm", 7, 0, &Leaf::ebx, 11},
    {"avx512f", 7, 0, &Leaf::ebx, 16},
    {"avx512dq", 7, 0, &Leaf::ebx, 17},
    {"rdseed", 7, 0, &Leaf::ebx, 18},
    {"adx", 7, 0, &Leaf::ebx, 19},
    {"smap", 7, 0, &Leaf::ebx, 20},
    {"clflushopt", 7, 0, &Leaf::ebx, 23},
    {"clwb", 7, 0, &Leaf::ebx, 24},
    {"sha_ni", 7, 0, &Leaf::ebx, 29},
    {"avx512bw", 7, 0, &Leaf::ebx, 30},
    {"avx512vl", 7, 0, &Leaf::ebx, 31},
    {"umip", 7, 0, &Leaf::ecx, 2},
    {"pku", 7, 0, &Leaf::ecx, 3},
    {"gfni", 7, 0, &Leaf::ecx, 8},
    {"vaes", 7, 0, &Leaf::ecx, 9},
    {"vpclmulqdq", 7, 0, &Leaf::ecx, 10},
    {"la57", 7, 0, &Leaf::ecx, 16},
    {"rdpid", 7, 0, &Leaf::ecx, 22},
    {"fsrm", 7, 0, &Leaf::edx, 4},
    {"arch_capabilities", 7, 0, &Leaf::edx, 29},
    {"xsaveopt", 0xd, 1, &Leaf::eax, 0},
    {"xsavec", 0xd, 1, &Leaf::eax, 1},
    {"xsaves", 0xd, 1, &Leaf::eax, 3},
    {"lahf_lm", 0x80000001, 0, &Leaf::ecx, 0},
    {"svm", 0x80000001, 0, &Leaf::ecx, 2},
    {"abm", 0x80000001, 0, &Leaf::ecx, 5},
    {"sse4a", 0x80000001, 0, &Leaf::ecx, 6},
    {"3dnowprefetch", 0x80000001, 0, &Leaf::ecx, 8},
    {"topoext", 0x80000001, 0, &Leaf::ecx, 22},
    {"syscall", 0x80000001, 0, &Leaf::edx, 11},
    {"nx", 0x80000001, 0, &Leaf::edx, 20},
    {"mmxext", 0x80000001, 0, &Leaf::edx, 22},
    {"pdpe1gb", 0x80000001, 0, &Leaf::edx, 26},
    {"rdtscp", 0x80000001, 0, &Leaf::edx, 27},
    {"lm", 0x80000001, 0, &Leaf::edx, 29},
    {"invtsc", 0x80000007, 0, &Leaf::edx, 8},
};

// x86-64-v1 (System V ABI): CMOV, CX8, FPU, FXSR, MMX, OSFXSR, SCE, SSE, SSE2, with the system features that every such
// CPU has; x2APIC, the TSC deadline timer and the hypervisor bit are the virtual machine's own.
constexpr uint32_t kBaselineEdx1 = 0x0783fbff | 1u << 28;
constexpr uint32_t kBaselineEcx1 = 1u << 21 | 1u << 24 | 1u << 31;
constexpr uint32_t kBaselineEdx80000001 = 1u << 11 | 1u << 20 | 1u << 29;

const Feature* find_feature(std::string_view name) {
  const auto found = std::ranges::find(kFeatures, name, &Feature::name);
  return found == std::end(kFeatures) ? nullptr : found;
}

Leaf* find_leaf(std::vector<Leaf>& leaves, uint32_t function, uint32_t index) {
  const auto found =
      std::ranges::find_if(leaves, [&](const Leaf& l) { return l.function == function && l.index == index; });
  return found == leaves.end() ? nullptr : &*found;
}

void reduce_to_baseline(std::vector<Leaf>& leaves) {
  std::erase_if(leaves, [](const Leaf& l) { return l.function == 0xd || l.function == 0x14 || l.function == 0x12; });
  for (Leaf& leaf : leaves) {
    if (leaf.function == 1) {
      leaf.ecx &= kBaselineEcx1;
      leaf.edx &= kBaselineEdx1;
    } else if (leaf.function == 7) {
      leaf.eax = leaf.ebx = leaf.ecx = leaf.edx = 0;
    } else if (leaf.function == 0x80000001) {
      leaf.ecx = 0;
      leaf.edx &= kBaselineEdx80000001;
    }
  }
}

std::vector<Leaf> supported_cpuid(const Kvm& kvm) {
  // The count is not known beforehand: the kernel says E2BIG until there is room.
  for (uint32_t room = 128; room <= 4096; room *= 2) {
    std::vector<uint64_t> buffer((sizeof(kvm_cpuid2) + room * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t) + 1);
    auto* list = reinterpret_cast<kvm_cpuid2*>(buffer.data());
    list->nent = room;
    const int result = kvm_ioctl(kvm.fd(), KVM_GET_SUPPORTED_CPUID, list);
    if (result == -E2BIG) continue;
    if (result < 0) throw Error("cannot read the CPU features that KVM supports: " + errno_text(-result));
    return {list->entries, list->entries + list->nent};
  }
  throw Error("KVM supports more CPUID entries than this program expects");
}

}  // namespace

CpuModel CpuModel::parse(std::string_view text) {
  CpuModel model;
  const auto model_name = text.substr(0, text.find(','));
  if (model_name == "baseline") {
    model.baseline_ = true;
  } else if (model_name != "host") {
    throw Error(fmt::format("unknown CPU model '{}'", model_name), "use --cpu host or --cpu baseline");
  }
  while (text.find(',') != std::string_view::npos) {
    text.remove_prefix(text.find(',') + 1);
    const auto change = text.substr(0, text.find(','));
    const bool signed_name = change.starts_with('+') || change.starts_with('-');
    if (!signed_name || find_feature(change.substr(1)) == nullptr) {
      std::vector<std::string_view> names;
      for (const Feature& feature : kFeatures) names.push_back(feature.name);
      throw Error(fmt::format("unknown CPU feature '{}'", change),
                  fmt::format("write +NAME or -NAME, with a name of: {}", fmt::join(names, " ")));
    }
    model.changes_.push_back({std::string(change.substr(1)), change.starts_with('+')});
  }
  return model;
}

std::vector<kvm_cpuid_entry2> CpuModel::leaves(const Kvm& kvm) const {
  std::vector<Leaf> supported = supported_cpuid(kvm);
  if (Leaf* features = find_leaf(supported, 1, 0)) {
    features->ecx |= 1u << 31;  // a hypervisor is present
    // These two are done by KVM's local APIC, which does not list them.
    features->ecx |= 1u << 21;
    if (kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) > 0) features->ecx |= 1u << 24;
  }
  std::vector<Leaf> leaves = supported;
  if (baseline_) reduce_to_baseline(leaves);

  for (const Change& change : changes_) {
    const Feature& feature = *find_feature(change.feature);
    const uint32_t bit = 1u << feature.bit;
    const Leaf* offered = find_leaf(supported, feature.function, feature.index);
    if (change.enable && (offered == nullptr || (offered->*feature.reg & bit) == 0)) {
      throw Error(fmt::format("this host cannot give the guest the CPU feature '{}'", change.feature),
                  fmt::format("leave +{} out", change.feature));
    }
    Leaf* leaf = find_leaf(leaves, feature.function, feature.index);
    if (leaf == nullptr && change.enable) {
      leaves.push_back(*offered);
      leaf = &leaves.back();
    }
    if (leaf == nullptr) continue;
    leaf->*feature.reg = change.enable ? leaf->*feature.reg | bit : leaf->*feature.reg & ~bit;
  }
  // XSAVE needs its leaf of sizes and masks.
  const Leaf* basic = find_leaf(leaves, 1, 0);
  if (basic != nullptr && (basic->ecx & 1u << 26) != 0 && find_leaf(leaves, 0xd, 0) == nullptr) {
    std::ranges::copy_if(supported, std::back_inserter(leaves), [](const Leaf& l) { return l.function == 0xd; });
  }
  return leaves;
}

// One socket, a core per vCPU, no threads.
std::vector<kvm_cpuid_entry2> with_topology(std::vector<kvm_cpuid_entry2> leaves, unsigned id, unsigned count) {
  const auto id_bits = static_cast<uint32_t>(std::bit_width(count - 1));
  constexpr uint32_t kAmdTopology = 0x80000026;
  const bool has_amd_topology = find_leaf(leaves, kAmdTopology, 0) != nullptr;
  std::erase_if(leaves,
                [](const Leaf& l) { return l.function == 0xb || l.function == 0x1f || l.function == kAmdTopology; });
  for (Leaf& leaf : leaves) {
    switch (leaf.function) {
      case 1:
        leaf.ebx = (leaf.ebx & 0xffff) | std::min(count, 255u) << 16 | id << 24;
        leaf.edx = count > 1 ? leaf.edx | 1u << 28 : leaf.edx & ~(1u << 28);
        break;
      case 4:  // caches: the last level is shared by all, the others are a core's own
        if ((leaf.eax & 0x1f) != 0) {
          const bool last_level = (leaf.eax >> 5 & 7) >= 3;
          leaf.eax = (leaf.eax & 0x3fff) | (last_level ? count - 1 : 0) << 14 | std::min(count - 1, 63u) << 26;
        }
        break;
      case 0x80000008:
        leaf.ecx = id_bits << 12 | std::min(count - 1, 255u);
        break;
      case 0x8000001d:  // the same by AMD
        if ((leaf.eax & 0x1f) != 0) {
          const bool last_level = (leaf.eax >> 5 & 7) >= 3;
          leaf.eax = (leaf.eax & 0x3fff) | (last_level ? count - 1 : 0) << 14;
        }
        break;
      case 0x8000001e:
        leaf.eax = id;
        leaf.ebx = id & 0xff;
        leaf.ecx = 0;
        break;
      default:
        break;
    }
  }
  const Leaf threads{.function = 0xb,
                     .index = 0,
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                     .eax = 0,
                     .ebx = 1,
                     .ecx = 0x100,
                     .edx = id,
                     .padding = {}};
  Leaf cores = threads;
  cores.index = 1;
  cores.eax = id_bits;
  cores.ebx = count;
  cores.ecx = 0x201;
  leaves.push_back(threads);
  leaves.push_back(cores);
  if (has_amd_topology) {
    // AMD calls the first of the same levels a core, and the last, its fourth kind, a socket.
    for (Leaf level : {threads, cores}) {
      level.function = kAmdTopology;
      level.ecx = level.index | (level.index == 0 ? 1u : 4u) << 8;
      leaves.push_back(level);
    }
  }
  if (Leaf* basic = find_leaf(leaves, 0, 0)) basic->eax = std::max(basic->eax, 0xbu);
  return leaves;
}

void require_addresses(const std::vector<kvm_cpuid_entry2>& leaves, uint64_t end) {
  constexpr uint32_t kBitsWithoutLeaf = 36;
  const auto sizes =
      std::ranges::find_if(leaves, [](const Leaf& l) { return l.function == 0x80000008 && l.index == 0; });
  uint32_t bits = sizes == leaves.end() ? kBitsWithoutLeaf : sizes->eax & 0xff;
  // Nested paging may reach less far than the CPU's addresses (AMD APM 3 appendix E.4.7, GuestPhysAddrSize).
  const uint32_t nested = sizes == leaves.end() ? 0 : sizes->eax >> 16 & 0xff;
  if (nested != 0) bits = std::min(bits, nested);
  if (bits >= 64 || end <= uint64_t{1} << bits) return;
  // What lies below 4 GiB beside memory takes a GiB of the addresses.
  throw Error(fmt::format("the guest's CPU has {} address bits, and its memory would end at {:#x}", bits, end),
              fmt::format("--mem {}G", (uint64_t{1} << (bits - 30)) - 1));
}

void request_large_registers(const Kvm& kvm) {
#ifdef KVM_X86_XCOMP_GUEST_SUPP
  constexpr unsigned long kAmxTiles = 18;  // the component's number, XTILEDATA (Intel SDM 1 §13.1)
  uint64_t supported = 0;
  const kvm_device_attr what{
      .flags = 0, .group = 0, .attr = KVM_X86_XCOMP_GUEST_SUPP, .addr = reinterpret_cast<uint64_t>(&supported)};
  if (kvm_ioctl(kvm.fd(), KVM_GET_DEVICE_ATTR, &what) < 0 || (supported >> kAmxTiles & 1) == 0) return;
  // Without it the guest has no AMX, and all else: no reason to fail. A second machine of the process has it already.
  if (::syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, kAmxTiles) != 0) {
    log_debug("the host's kernel gives guests no AMX: {}", errno_text(errno));
  }
#else
  static_cast<void>(kvm);
#endif
}

void set_cpuid(const Vcpu& vcpu, const std::vector<kvm_cpuid_entry2>& leaves) {
  std::vector<uint64_t> buffer((sizeof(kvm_cpuid2) + leaves.size() * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t) + 1);
  auto* list = reinterpret_cast<kvm_cpuid2*>(buffer.data());
  list->nent = static_cast<uint32_t>(leaves.size());
  std::ranges::copy(leaves, list->entries);
  if (const int result = kvm_ioctl(vcpu.fd(), KVM_SET_CPUID2, list); result < 0) {
    throw Error(fmt::format("KVM refuses the CPU features of vCPU {}: {}", vcpu.id(), errno_text(-result)),
                "try --cpu baseline");
  }
}

}  // namespace vmm
