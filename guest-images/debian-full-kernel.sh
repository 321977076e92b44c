# Debian's kernel for any machine as it is shipped, with its modules: `vmm --modules` makes an initrd of those.

build() {
  need depmod kmod
  fetch "$(resolve "$(of_guest "linux-image-$arch")")" package
  cp package/boot/vmlinuz-* "$out/vmlinuz"
  /sbin/depmod -b package "$(ls package/lib/modules)"
  mv package/lib "$out/lib"
}
