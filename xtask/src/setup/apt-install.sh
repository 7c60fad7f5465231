#!/bin/sh
# Installs Debian packages; run as root by `cargo xtask setup`: apt-install.sh PACKAGE...
#
# nginx-light brings a service. Tests start nginx themselves, in their own network namespaces, so the service is
# neither started now (policy-rc.d, which both systemd's and sysvinit's helpers ask) nor at the next boot. All
# other services do what they would do anyway, and an nginx that was here before is left as it is.
set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
kept=$policy.kept-by-lb-xtask
mark='# Temporary, of lb: cargo xtask setup'

has_nginx_service() {
    [ -e /etc/init.d/nginx ] || [ -e /lib/systemd/system/nginx.service ]
}

forbid_nginx() {
    # Ours is still there only where an earlier run was killed; then the machine's own is kept already.
    if [ -e "$policy" ] && ! grep -qF "$mark" "$policy"; then mv "$policy" "$kept"; fi
    cat > "$policy" <<EOF
#!/bin/sh
$mark
for word; do
    case "\$word" in nginx | nginx.service) exit 101 ;; esac
done
if [ -x "$kept" ]; then exec "$kept" "\$@"; fi
exit 0
EOF
    chmod 755 "$policy"
}

leave_as_it_was() {
    # Ctrl-C leaves packages unpacked that a later `dpkg --configure` would set up without our rule about nginx.
    trap '' INT TERM HUP
    dpkg --configure -a >&2 || true
    rm -f "$policy"
    if [ -e "$kept" ]; then mv "$kept" "$policy"; fi
    if [ $had_nginx_service = no ] && has_nginx_service; then
        if command -v systemctl > /dev/null; then systemctl --quiet disable nginx.service >&2 || true; fi
        if [ -e /etc/init.d/nginx ]; then update-rc.d nginx disable >&2 || true; fi
    fi
}

install_packages() {
    apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install \
        --no-install-recommends --no-remove "$@" >&2
}

had_nginx_service=no
if has_nginx_service; then had_nginx_service=yes; fi
trap leave_as_it_was EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
forbid_nginx
if ! install_packages "$@"; then
    # The usual cause: the lists name versions that the mirror has replaced since.
    echo 'setup: once more, with fresh package lists' >&2
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
    install_packages "$@"
fi
