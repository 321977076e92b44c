# Debian 13's cloud kernel as it is shipped, with its modules: `vmm --modules` makes an initrd of those. It is fetched by
# apt lists of this recipe's own, from where apt has the host's packages.

build() {
  need depmod kmod
  local site
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -1)
  [ -n "$site" ] || die "apt has no package lists" "apt-get update"
  mkdir -p apt/lists/partial apt/archives/partial
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$site" >apt/sources.list
  cat >apt/apt.conf <<CONF
Dir::Etc::SourceList "$PWD/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$PWD/apt/lists";
Dir::Cache "$PWD/apt";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
  export APT_CONFIG=$PWD/apt/apt.conf
  apt-get -qq update || die "cannot fetch the package lists of trixie" "see that the network is there"
  fetch "$(resolve "linux-image-cloud-$arch")" package
  cp package/boot/vmlinuz-* "$out/vmlinuz"
  mkdir "$out/lib"
  mv package/usr/lib/modules "$out/lib/modules"
  /sbin/depmod -b "$out" "$(ls "$out/lib/modules")"
}
