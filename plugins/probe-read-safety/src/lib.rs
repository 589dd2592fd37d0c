//! Stacksonde plugin `probe-read-safety`: may user memory be read in a sampling interrupt?
//!
//! Kernels before mainline commit d319f344561d ("mm: Fix copy_from_user_nofault()", 6.4) can dead-lock
//! when user memory is read in an interrupt. The host asks only on kernels whose upstream version may
//! lack the fix; vendors may have it all the same. So the code of the function itself is judged.
//!
//! ```text
//! kernel_config   a kernel without CONFIG_HARDENED_USERCOPY cannot dead-lock here
//! symbols         where the function lies, from /proc/kallsyms
//! x86_64          it calls nmi_uaccess_okay: fixed
//! aarch64         it checks addresses as before the fix, or as after it
//! ```
//!
//! What cannot be told is `Unproven`, with what failed. That says nothing about the kernel.

pub mod aarch64;
#[doc(hidden)]
pub mod fuzz;
pub mod kernel_config;
pub mod symbols;
pub mod x86_64;

use kernel_config::{Hardened, hardened_usercopy};
use stacksonde_ebpf::selfprobe::{Place, Selfprobe, Trigger};
use stacksonde_plugin::{Capabilities, Outcome, SafetyCheck, Verdict};
use symbols::{Extent, Symbols};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    safety_check: ProbeReadSafety,
}

/// The hazard, and the function that it is named for.
pub const HAZARD: &str = "copy_from_user_nofault";

/// The ways to read the kernel's code, best first, with the capability that each needs.
const WAYS: [(Trigger, &str); 3] = [
    (Trigger::TestRun, "bpf.run.raw_tracepoint"),
    (Trigger::SyscallTracepoint, "tracefs.syscalls"),
    (Trigger::RawTracepoint, "bpf.prog.raw_tracepoint"),
];

/// Judges the running kernel.
#[derive(Debug, Default)]
pub struct ProbeReadSafety;

impl SafetyCheck for ProbeReadSafety {
    fn hazards(&self) -> Vec<String> {
        vec![HAZARD.into()]
    }

    fn assess(&mut self, hazard: &str, _kernel: [u32; 3], capabilities: &Capabilities) -> Verdict {
        if hazard != HAZARD {
            return Verdict::Unproven { reason: format!("`{hazard}` is not a hazard that this check knows") };
        }
        let options = kernel_config::running();
        if let Hardened::No { source } = hardened_usercopy(options.as_ref()) {
            return Verdict::Safe {
                evidence: format!(
                    "{source} has no CONFIG_HARDENED_USERCOPY, without whose checks the function takes no lock"
                ),
            };
        }
        match code(capabilities) {
            Ok(code) => code.judge(options.as_ref().map(|(_, text)| text.as_str())),
            Err(reason) => Verdict::Unproven {
                reason: format!("the check failed, which says nothing about the kernel: {reason}"),
            },
        }
    }
}

/// A function's code, with the addresses that matter.
struct Code {
    extent: Extent,
    bytes: Vec<u8>,
    /// The function that only the fixed function calls; x86-64.
    okay: Option<Extent>,
}

impl Code {
    #[cfg(target_arch = "x86_64")]
    fn judge(&self, _options: Option<&str>) -> Verdict {
        match self.okay {
            Some(okay) => x86_64::judge(&self.bytes, self.extent.start, okay),
            None => Verdict::Unproven {
                reason: "the check failed, which says nothing about the kernel: /proc/kallsyms has no \
                         nmi_uaccess_okay to look for"
                    .into(),
            },
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn judge(&self, options: Option<&str>) -> Verdict {
        let _unused = self.okay;
        aarch64::judge(&self.bytes, options.map(aarch64::tags_addresses))
    }
}

/// Reads the function's code out of the running kernel; the error says what failed.
fn code(capabilities: &Capabilities) -> Result<Code, String> {
    if let Some(Outcome::Absent { reason, remedy }) = capabilities.get("kallsyms.addresses") {
        return Err(format!("the function's address is hidden: {reason} ({remedy})"));
    }
    let text = std::fs::read("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms: {error}"))?;
    let symbols = Symbols::parse(&text);
    let extent = symbols.extent(HAZARD)?;
    let okay = symbols.with_padding("nmi_uaccess_okay");
    let bytes = read(extent, capabilities)?;
    Ok(Code { extent, bytes, okay })
}

fn read(extent: Extent, capabilities: &Capabilities) -> Result<Vec<u8>, String> {
    let absent: Vec<String> = WAYS
        .iter()
        .filter_map(|(_, name)| match capabilities.get(name) {
            Some(Outcome::Absent { reason, .. }) => Some(format!("{name}: {reason}")),
            _ => None,
        })
        .collect();
    let open: Vec<Trigger> = WAYS
        .iter()
        .filter(|(_, name)| !matches!(capabilities.get(name), Some(Outcome::Absent { .. })))
        .map(|(trigger, _)| *trigger)
        .collect();
    if open.is_empty() {
        return Err(format!("there is no way to read the function's code: {}", absent.join("; ")));
    }
    let mut probe = Selfprobe::open(&open).map_err(|error| error.to_string())?;
    let bytes = usize::try_from(extent.end - extent.start).unwrap_or(usize::MAX);
    let look = probe
        .read(Place::Address(extent.start), bytes)
        .map_err(|error| format!("reading the code of {HAZARD} was refused: {error}"))?;
    Ok(look.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(names: &[&str]) -> Capabilities {
        let absent = || Outcome::Absent { reason: "taken away".into(), remedy: "give it back".into() };
        Capabilities(names.iter().map(|name| ((*name).to_owned(), absent())).collect())
    }

    #[test]
    fn says_what_failed_and_that_it_was_the_check() {
        let hidden = code(&without(&["kallsyms.addresses"])).map(|_| ()).unwrap_err();
        assert!(hidden.contains("address is hidden: taken away"), "{hidden}");
        let ways = WAYS.map(|(_, name)| name);
        let unreadable = read(Extent { start: 1 << 63, end: (1 << 63) + 8 }, &without(&ways)).unwrap_err();
        assert!(ways.iter().all(|name| unreadable.contains(name)), "{unreadable}");
    }

    #[test]
    fn knows_its_hazard_and_no_other() {
        assert_eq!(ProbeReadSafety.hazards(), [HAZARD]);
        let verdict = ProbeReadSafety.assess("another", [6, 1, 0], &Capabilities::default());
        assert!(matches!(verdict, Verdict::Unproven { reason } if reason.contains("`another`")));
    }
}
