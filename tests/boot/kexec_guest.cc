// The guest's side of kexec_test.cc: `kexec-guest crash|now KERNEL INITRD COMMAND-LINE` loads a kernel, for the next
// panic or to be started at once. Linked statically, so that it runs in any root; what kexec-tools does, by one system
// call (Documentation/admin-guide/kdump/kdump.rst).
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const bool for_crash = std::string_view(argv[1]) == "crash";
  const int kernel = ::open(argv[2], O_RDONLY | O_CLOEXEC), initrd = ::open(argv[3], O_RDONLY | O_CLOEXEC);
  const unsigned long flags = for_crash ? KEXEC_FILE_ON_CRASH : 0;
  if (::syscall(SYS_kexec_file_load, kernel, initrd, std::strlen(argv[4]) + 1, argv[4], flags) != 0) {
    std::perror("kexec-guest");
    return 1;
  }
  if (for_crash) return 0;
  ::sync();
  ::reboot(static_cast<int>(LINUX_REBOOT_CMD_KEXEC));
  std::perror("kexec-guest");
  return 1;
}
