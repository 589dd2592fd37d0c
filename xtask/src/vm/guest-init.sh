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

# CPU time of a process in hundredths of a second: utime and stime.
used() {
	set -- $(cut -d ')' -f 2 "/proc/$1/stat")
	echo $((${12} + ${13}))
}

# The same for a recording, which is ended when each of the programs has used so much CPU time: how much of it an
# emulated CPU gets is up to the machine.
run_until() {
	name=$1
	time=$2
	shift 2
	echo "guest: $*"
	"$@" > "/results/$name.out" 2> "/results/$name.err" &
	agent=$!
	until grep -q '^recording at ' "/results/$name.err" || ! kill -0 $agent; do
		sleep 0.1
	done
	for program in $programs; do
		goal=$(($(used $program) + time))
		while [ "$(used $program)" -lt $goal ] && kill -0 $agent; do
			sleep 0.1
		done
	done
	kill -TERM $agent
	wait $agent
	echo $? > "/results/$name.status"
	cat "/results/$name.err"
}

export RUST_BACKTRACE=1
c_chain &
programs=$!
no_frame_pointers chain &
programs="$programs $!"
run doctor stacksonde doctor --json
# In a pid namespace of its own the agent needs all facts; two providers are asked for each.
run nested unshare -p -f --mount-proc env STACKSONDE_OFFSETS__VERIFY=true stacksonde doctor --json
run table stacksonde doctor
run_until record 200 stacksonde record -F 99 -o /results/profile.folded
run_until filtered 150 stacksonde record -F 99 --deny-comm c_chain --log warn,stacksonde::agent=debug -o /results/filtered.folded
if [ "$memlock" = charged ]; then
	run_until raised 50 sh -c 'ulimit -l 64 && exec stacksonde record -o /results/raised.folded'
	# Room for all but rings of this size. Not the setpriv of busybox, which knows no bounding set.
	run_until shrunk 50 sh -c 'ulimit -l 14336 && STACKSONDE_MEMORY__RING_BYTES=8388608 \
		exec /sbin/setpriv --bounding-set=-sys_resource stacksonde record -o /results/shrunk.folded'
fi
cat /results/table.out /results/record.out
uname -r > /results/release
echo "guest: sending results"
stty -F /dev/ttyS1 raw -echo
tar -c -C /results . > /dev/ttyS1
echo "guest: done"
# With -no-reboot, QEMU ends here. Not every kernel can switch the machine off.
reboot -f
