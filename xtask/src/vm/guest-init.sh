#!/bin/busybox sh
# The first process of a guest: shows the agent a system, runs it, and sends what it said.
#
# The kernel's command line tells what the system is to be like; the kernel hands words that it does
# not know to us as environment variables:
#
#   tracefs=mounted     mount tracefs (else nobody does)
#   kptr_restrict=N     set kernel.kptr_restrict (else as the kernel has it)
#   without=A,B         remove plugins
#   memlock=charged     BPF's maps count as locked memory here (before 5.11): record with the limit that we
#                       find, and with one that cannot be raised
#
# Results go to the second serial port as a tar archive; the first is the console.
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /tmp /results
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
$busybox mount -t tmpfs tmpfs /tmp
$busybox --install -s /bin
mount -t securityfs securityfs /sys/kernel/security
[ "$tracefs" = mounted ] && mount -t tracefs tracefs /sys/kernel/tracing
[ -n "$kptr_restrict" ] && echo "$kptr_restrict" > /proc/sys/kernel/kptr_restrict
for plugin in $(echo "$without" | tr , ' '); do
	rm "/usr/lib/stacksonde/plugins-1/$plugin.so"
done

# Runs a command and keeps what it prints, what it complains of, its exit status.
run() {
	name=$1
	shift
	echo "guest: $*"
	"$@" > "/results/$name.out" 2> "/results/$name.err"
	echo $? > "/results/$name.status"
	cat "/results/$name.err"
}

export RUST_BACKTRACE=1
c_chain &
no_frame_pointers chain &
run doctor stacksonde doctor --json
# In a pid namespace of its own the agent needs all facts; two providers are asked for each.
run nested unshare -p -f --mount-proc env STACKSONDE_OFFSETS__VERIFY=true stacksonde doctor --json
run table stacksonde doctor
run record stacksonde record -d 5 -F 99 -o /results/profile.folded
run filtered stacksonde record -d 3 -F 99 --deny-comm c_chain --log warn,stacksonde::agent=debug -o /results/filtered.folded
if [ "$memlock" = charged ]; then
	run raised sh -c 'ulimit -l 64 && exec stacksonde record -d 2 -o /results/raised.folded'
	# Room for all but rings of this size. Not the setpriv of busybox, which knows no bounding set.
	run shrunk sh -c 'ulimit -l 14336 && STACKSONDE_MEMORY__RING_BYTES=8388608 \
		exec /sbin/setpriv --bounding-set=-sys_resource stacksonde record -d 2 -o /results/shrunk.folded'
fi
cat /results/table.out /results/record.out
uname -r > /results/release
echo "guest: sending results"
stty -F /dev/ttyS1 raw -echo
tar -c -C /results . > /dev/ttyS1
echo "guest: done"
# With -no-reboot, QEMU ends here. Not every kernel can switch the machine off.
reboot -f
