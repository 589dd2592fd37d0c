#!/bin/bash
# Runs in a Debian whose first process is systemd: starts stacksonde.service as an operator would, looks at what comes
# of it, and then lets an agent try what it reaches without each of the unit's capabilities. Results go to the second
# serial port as a tar archive.
set -u
results=/results
state=/var/lib/stacksonde
mkdir -p $results
cd $results || exit 1
say() { echo "guest: $*"; }

uname -r > release
cat /proc/sys/kernel/perf_event_paranoid > paranoid
systemd-sysusers
systemd-analyze verify --man=no stacksonde.service > verify 2>&1
systemd-analyze security --no-pager stacksonde.service 2> /dev/null | tail -n 1 > security

# Programs of others, whose stacks are known, where the unit does not look: a home that only its owner enters, /tmp,
# and a file that is gone.
alice() { setpriv --reuid 1000 --regid 1000 --clear-groups env OTEL_SERVICE_NAME="$2-labelled" "$1" chain & }
install -d -m 0700 -o 1000 -g 1000 /home/alice
program=/usr/lib/stacksonde-test/no_frame_pointers
install -m 0700 -o 1000 -g 1000 $program /home/alice/in_home
for file in /usr/local/bin/in_usr /usr/local/bin/removed /tmp/in_tmp; do
	install -m 0755 $program $file
done
alice /usr/local/bin/in_usr usr
alice /home/alice/in_home home
alice /tmp/in_tmp tmp
alice /usr/local/bin/removed removed
until [ "$(cat /proc/$!/comm)" = removed ]; do sleep 0.2; done
rm /usr/local/bin/removed
/usr/lib/stacksonde-test/c_chain &

properties=ActiveState,SubState,Result,NRestarts,MainPID,ActiveEnterTimestampMonotonic,WatchdogTimestampMonotonic
properties=$properties,ExecMainStatus,ExecMainCode,MemoryPeak,TasksCurrent
show() { systemctl show stacksonde -p $properties > "$1"; }
journal() { journalctl --unit stacksonde --output cat --no-pager > "$1"; }
# Waits until the journal has a line, for a minute at most.
await() {
	for _ in $(seq 120); do
		journalctl --unit stacksonde --output cat --no-pager | grep -q -e "$1" && return
		sleep 0.5
	done
	say "never: $1"
}
# Waits until so many more files of stacks are there than there were.
another() {
	local had now
	had=$(ls $state/*.folded 2> /dev/null | wc -l)
	for _ in $(seq 120); do
		now=$(ls $state/*.folded 2> /dev/null | wc -l)
		[ "$now" -ge $((had + $1)) ] && return
		sleep 0.5
	done
	say "no $1 more profiles"
}

# Waits for stacks of an interval that begins after this, and names their file. A file is named by the end of its interval.
from_now_on() {
	local interval=5 first newest
	first=$state/profile-$(date -u -d "+$interval seconds" +%Y%m%dT%H%M%SZ)
	for _ in $(seq 240); do
		newest=$(ls $state/*.folded | tail -n 1)
		[[ $newest > $first ]] && echo "$newest" && return
		sleep 0.5
	done
	say "no profile after $first" >&2
}

# Sends what there is, and ends.
finish() {
	journal journal
	say "sending results"
	stty -F /dev/ttyS1 raw -echo
	tar -c -f - -C $results . | cat > /dev/ttyS1
	say done
	reboot -ff
}

say starting
systemctl start stacksonde
status=$?
echo $status > start.status
if [ $status != 0 ]; then
	systemctl status stacksonde --no-pager --full | cat
	journalctl --unit stacksonde --no-pager | tail -n 30
	finish
fi
another 3
cat $state/*.folded > service.folded
gzip -dc "$(ls $state/*.pb.gz | tail -n 1)" | grep -a -o 'stacksonde.plan: {.*' > service.plan
process=$(systemctl show stacksonde -p MainPID --value)
cat /proc/$process/task/*/status | grep -e ^CapPrm | sort -u > service.threads
grep -e ^Uid -e ^Cap -e ^Seccomp: -e ^NoNewPrivs /proc/$process/status > service.process
systemctl status stacksonde --no-pager | cat > service.status-shown
stat --format '%U:%G %a %F' $state /run/stacksonde /run/stacksonde/health.sock > service.files
show show.started

say reloading
printf '[filter]\ndeny_comm = ["in_usr"]\n' > /etc/stacksonde/conf.d/deny.toml
systemctl reload stacksonde
echo $? > reload.status
cat "$(from_now_on)" > reloaded.folded
echo 'nonsense = 1' > /etc/stacksonde/conf.d/wrong.toml
systemctl reload stacksonde
echo $? > refused.status
another 1
show show.reloaded
rm /etc/stacksonde/conf.d/*.toml
say stopping
systemctl stop stacksonde
echo $? > stop.status
show show.stopped
journal journal

say "letting the watchdog bark"
mkdir -p /run/systemd/system/stacksonde.service.d
printf '[Service]\nWatchdogSec=6\nTimeoutAbortSec=2\nRestartSec=1\n' > /run/systemd/system/stacksonde.service.d/watchdog.conf
systemctl daemon-reload
systemctl start stacksonde
# A process that is stopped says nothing.
kill -STOP "$(systemctl show stacksonde -p MainPID --value)"
await 'Watchdog timeout'
for _ in $(seq 60); do
	[ "$(systemctl show stacksonde -p NRestarts --value)" = 1 ] && systemctl is-active --quiet stacksonde && break
	sleep 0.5
done
show show.barked
systemctl stop stacksonde
rm -r /run/systemd/system/stacksonde.service.d

say "trying as root"
/usr/lib/stacksonde-test/try $results/try-root
unit=/usr/lib/systemd/system/stacksonde.service
capabilities=$(sed -n 's/^AmbientCapabilities=//p' $unit)
# attempt NAME LINE...: with the unit's rights but for these lines.
attempt() {
	say "trying $1"
	local file="/run/systemd/system/try.service"
	sed -e 's/^Type=.*/Type=oneshot/' -e "s,^ExecStart=.*,ExecStart=/usr/lib/stacksonde-test/try $state/try-$1," \
		-e '/^Restart=/d' -e '/^WatchdogSec=/d' -e '/^ExecReload=/d' $unit > $file
	printf '[Service]\n' >> $file
	printf '%s\n' "${@:2}" >> $file
	systemctl daemon-reload
	systemctl start try
	mv $state/try-$1 $results
}
attempt unit
for capability in $capabilities; do
	echo $capability >> taken
	attempt $capability CapabilityBoundingSet=~$capability AmbientCapabilities=~$capability
done
echo LimitMEMLOCK >> taken
attempt LimitMEMLOCK LimitMEMLOCK=8M

finish
