# The tiny guest: busybox and tiny.init, as an initramfs and as a 64 MiB ext4 disk (the whole disk, no
# partitions) that boots with root=/dev/vda. busybox stands in /bin under each of its names.

fill_tiny() { # fill_tiny DIR: everything of the tiny guest but its init
  install_busybox "$1"
  mkdir -p "$1/etc/acpi/PWRF"
  printf '#!/bin/sh\npoweroff\n' >"$1/etc/acpi/PWRF/00000080"
  printf '#!/bin/sh\nsh -l\npoweroff\n' >"$1/etc/tiny-shell"
  echo "export PS1='tiny:\w# '" >"$1/etc/profile"
  echo 'root::0:0:root:/root:/bin/sh' >"$1/etc/passwd"
  echo 'root:x:0:' >"$1/etc/group"
  chmod 755 "$1/etc/acpi/PWRF/00000080" "$1/etc/tiny-shell"
}

build() {
  need cpio cpio; need mke2fs e2fsprogs
  fill_tiny root
  install -m 755 "$here/tiny.init" root/init
  pack_initramfs root "$out/initramfs.cpio.gz"
  rm root/sbin/init root/bin/init 2>/dev/null || true
  ln -s ../init root/sbin/init
  make_disk root "$out/rootfs.img" 64M
}
