#!/bin/busybox sh
# The first process of the guest of the service: unpacks Debian and what is tested into memory, and becomes systemd.
busybox=/bin/busybox
$busybox mkdir -p /proc /newroot
$busybox mount -t proc proc /proc
$busybox mount -t tmpfs -o mode=0755,size=80% tmpfs /newroot
for part in debian added; do
	$busybox tar -x -f /$part.tar -C /newroot
	$busybox rm /$part.tar
done
$busybox umount /proc
exec $busybox switch_root /newroot /usr/lib/systemd/systemd
