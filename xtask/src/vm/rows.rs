//! Which kernels are booted, and what the agent must make of each.

use super::own::{Code, Own};
use super::stock::Stock;

/// A guest.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Its kernel; several rows may share one.
    pub(super) kernel: Kernel,
    /// The configuration that sets it apart, in the table's words.
    pub(super) configuration: &'static str,
    /// Words for the guest, see `guest-init.sh`.
    pub(super) guest: &'static [&'static str],
    /// True if CI has time for it.
    pub(super) in_ci: bool,
    /// The expected results.
    pub(super) expected: Expected,
}

/// The origin of a kernel.
#[derive(Debug)]
pub(super) enum Kernel {
    /// Debian's package.
    Stock(Stock),
    /// Debian's source.
    Own(Own),
}

/// The expected results.
#[derive(Debug)]
pub(super) struct Expected {
    /// The beginning of the upstream version.
    pub(super) version: &'static str,
    /// `full`, `reduced` or `cannot-run`.
    pub(super) level: &'static str,
    /// The provider of facts; empty if nobody can give any.
    pub(super) provider: &'static str,
    /// Facts that another provider gives.
    pub(super) provider_of: &'static [(&'static str, &'static str)],
    /// True if two providers agree on each fact, or else only one can give it.
    pub(super) compared: bool,
    /// The state of the hazard `copy_from_user_nofault`.
    pub(super) hazard: &'static str,
    /// Features that are not `on`, and their state.
    pub(super) less: &'static [(&'static str, &'static str)],
}

impl Kernel {
    /// Returns its name in the table.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Stock(stock) => stock.name,
            Self::Own(own) => own.name(),
        }
    }
}

/// BTF says where members lie; how large a stack is it does not.
const BY_BTF: Expected = Expected {
    version: "",
    level: "full",
    provider: "btf-offsets",
    provider_of: &[("stack.pt_regs", "selfprobe-offsets")],
    compared: true,
    hazard: "out-of-range",
    less: &[],
};

const BY_SELFPROBE: Expected = Expected { provider: "selfprobe-offsets", provider_of: &[], ..BY_BTF };

const BY_TRACEPOINT: Expected = Expected { provider: "tracepoint-offsets", compared: false, ..BY_SELFPROBE };

const OLD: Expected = Expected { version: "6.1.20", ..BY_SELFPROBE };

/// User stacks by the kernel's own walk.
const MITIGATED: Expected = Expected {
    level: "reduced",
    less: &[("user_stacks", "reduced"), ("user_stacks_in_kernel", "reduced")],
    ..OLD
};

const NEITHER: Own = Own { btf: false, syscalls: false, code: Code::Current };
const BROKEN: Own = Own { code: Code::OldBroken, ..NEITHER };
const FIXED: Own = Own { code: Code::OldFixed, ..NEITHER };

const TRACEPOINTS: Own = Own { syscalls: true, ..NEITHER };

const AS_SHIPPED: &str = "as shipped";
/// Distributions mount tracefs at boot.
const AS_BOOTED: &[&str] = &["tracefs=mounted"];

/// The kernel lets nobody look into it, root neither.
pub(super) const LOCKED: &str = "lockdown=confidentiality";

/// BPF's maps count as locked memory, before 5.11.
pub(super) const MAPS_ARE_LOCKED: &str = "memlock=charged";

const fn stock(name: &'static str, kernel: Stock, version: &'static str) -> Row {
    Row {
        name,
        kernel: Kernel::Stock(kernel),
        configuration: AS_SHIPPED,
        guest: AS_BOOTED,
        in_ci: true,
        expected: Expected { version, ..BY_BTF },
    }
}

const CLOUD: &str = "-cloud-amd64";

const DEBIAN_13: Stock =
    Stock { name: "Debian 13, Linux 6.12", prefix: "linux-image-6.12.", suffix: "+deb13-cloud-amd64" };

/// All of them. Our own stand in an order in which each build changes little of the one before; BTF is
/// last, since with it a header that all files include is another.
pub(super) const ROWS: &[Row] = &[
    Row {
        guest: &["tracefs=mounted", MAPS_ARE_LOCKED],
        ..stock(
            "stock-5.10",
            Stock { name: "Debian 11, Linux 5.10", prefix: "linux-image-5.10.0-", suffix: CLOUD },
            "5.10.",
        )
    },
    stock(
        "stock-6.1",
        Stock { name: "Debian 12, Linux 6.1", prefix: "linux-image-6.1.0-", suffix: CLOUD },
        "6.1.",
    ),
    stock("stock-6.12", DEBIAN_13, "6.12."),
    stock("stock-sid", Stock { name: "Debian sid, newest", prefix: "linux-binary-", suffix: CLOUD }, ""),
    Row {
        name: "lockdown",
        kernel: Kernel::Stock(DEBIAN_13),
        configuration: "as shipped, lockdown=confidentiality",
        guest: &[LOCKED],
        in_ci: true,
        expected: Expected {
            version: "6.12.",
            level: "reduced",
            provider: "",
            provider_of: &[],
            compared: false,
            hazard: "out-of-range",
            less: &[("user_stacks_in_kernel", "off")],
        },
    },
    Row {
        name: "neither",
        kernel: Kernel::Own(NEITHER),
        configuration: "no BTF, no syscall tracepoints",
        guest: AS_BOOTED,
        in_ci: true,
        expected: Expected { version: "6.1.", ..BY_SELFPROBE },
    },
    Row {
        name: "neither-hidden",
        kernel: Kernel::Own(NEITHER),
        configuration: "no BTF, no syscall tracepoints, kptr_restrict=2, tracefs not mounted",
        guest: &["kptr_restrict=2"],
        in_ci: true,
        expected: Expected {
            version: "6.1.",
            level: "reduced",
            less: &[("kernel_names", "off")],
            ..BY_SELFPROBE
        },
    },
    Row {
        name: "neither-raw",
        kernel: Kernel::Own(NEITHER),
        configuration: "no BTF, no syscall tracepoints, plugin selfprobe-offsets not installed",
        guest: &["without=selfprobe-offsets"],
        in_ci: false,
        expected: Expected { version: "6.1.", ..BY_TRACEPOINT },
    },
    Row {
        name: "hazard-broken",
        kernel: Kernel::Own(BROKEN),
        configuration: "no BTF, no syscall tracepoints, with the hazard",
        guest: AS_BOOTED,
        in_ci: true,
        expected: Expected { hazard: "affected", ..MITIGATED },
    },
    Row {
        name: "hazard-fixed",
        kernel: Kernel::Own(FIXED),
        configuration: "no BTF, no syscall tracepoints, hazard fixed by the vendor",
        guest: AS_BOOTED,
        in_ci: false,
        expected: Expected { hazard: "safe", ..OLD },
    },
    Row {
        name: "hazard-unchecked",
        kernel: Kernel::Own(FIXED),
        configuration: "no BTF, no syscall tracepoints, hazard fixed by the vendor, plugin probe-read-safety not installed",
        guest: &["tracefs=mounted", "without=probe-read-safety"],
        in_ci: false,
        expected: Expected { hazard: "unproven", ..MITIGATED },
    },
    Row {
        name: "hazard-hidden",
        kernel: Kernel::Own(FIXED),
        configuration: "no BTF, no syscall tracepoints, hazard fixed by the vendor, kptr_restrict=2, tracefs not mounted",
        guest: &["kptr_restrict=2"],
        in_ci: false,
        expected: Expected {
            hazard: "unproven",
            less: &[
                ("user_stacks", "reduced"),
                ("user_stacks_in_kernel", "reduced"),
                ("kernel_names", "off"),
            ],
            ..MITIGATED
        },
    },
    Row {
        name: "tracepoints",
        kernel: Kernel::Own(TRACEPOINTS),
        configuration: "no BTF, syscall tracepoints",
        guest: AS_BOOTED,
        in_ci: false,
        expected: Expected { version: "6.1.", ..BY_SELFPROBE },
    },
    Row {
        name: "tracepoints-only",
        kernel: Kernel::Own(TRACEPOINTS),
        configuration: "no BTF, syscall tracepoints, plugin selfprobe-offsets not installed",
        guest: &["tracefs=mounted", "without=selfprobe-offsets"],
        in_ci: false,
        expected: Expected { version: "6.1.", ..BY_TRACEPOINT },
    },
    Row {
        name: "btf",
        kernel: Kernel::Own(Own { btf: true, ..NEITHER }),
        configuration: "BTF, no syscall tracepoints",
        guest: AS_BOOTED,
        in_ci: false,
        expected: Expected { version: "6.1.", ..BY_BTF },
    },
];
