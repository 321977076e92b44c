# Debian's cloud kernel as it is shipped, and a small initrd of our own with its modules: its virtio drivers
# are no built-ins.

build() {
  source "$here/tiny.sh"
  build_debian_kernel
}

build_debian_kernel() { # leaves the unpacked package in ./package as well
  need cpio cpio; need depmod kmod
  fetch "$(resolve "$(of_guest "linux-image-cloud-$arch")")" package
  cp package/boot/vmlinuz-* "$out/vmlinuz"
  /sbin/depmod -b package "$(ls package/lib/modules)"
  cp -r package/lib "$out/lib"  # its modules, for `vmm --modules`
  fill_tiny initrd
  copy_modules package initrd order virtio_pci virtio_blk nvme ext4 virtio_console
  copy_modules package initrd order-extra virtio_net virtio_rng virtio_balloon virtiofs \
    vmw_vsock_virtio_transport
  install -m 755 "$here/debian-kernel.init" initrd/init
  install -m 755 "$here/tiny.init" initrd/tiny.init
  pack_initramfs initrd "$out/initrd.img"
}
