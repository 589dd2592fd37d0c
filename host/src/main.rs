//! `stacksonde`: parse, run, exit code.

// As in the library: everything goes through `stacksonde::terminal`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use stacksonde::cli::{self, Command, Program};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    stacksonde::memory::few_arenas();
    stacksonde::kernel::prepare_system_files();
    if let Err(error) = stacksonde::bpf::confine_admin() {
        stacksonde::terminal::err(&format!(
            "stacksonde: CAP_SYS_ADMIN could not be left to one thread: {error}; run it without, or as root"
        ));
        leave(ExitCode::from(2));
    }
    let result = match Program::from_command_line().command {
        Command::Doctor(doctor) => cli::doctor::run(doctor),
        Command::Record(record) => cli::record::run(record),
        Command::Top(top) => cli::top::run(top),
        Command::Run(run) => cli::run::run(run),
        Command::Reload(reload) => cli::reload::run(reload),
        Command::Health(health) => cli::health::run(health),
        Command::Plugin(plugin) => cli::plugin::run(plugin),
        Command::Batch(batch) => cli::batch::run(batch),
        Command::View(view) => cli::view::run(view),
        Command::Config(config) => cli::config::run(config),
    };
    let code = result.unwrap_or_else(|error| {
        cli::say_error(&error);
        ExitCode::from(2)
    });
    leave(code)
}

/// Ends the process without the C library's `exit`, which would run what plugins left for the end
/// (`atexit`, destructors) while their threads still run, and could wait for them forever.
fn leave(code: ExitCode) -> ! {
    let _flushed = std::io::stdout().flush();
    let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(u8::MAX);
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code.into()) }
}
