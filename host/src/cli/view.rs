//! `stacksonde view`: a profile in a browser.

use crate::terminal::{err, out};
use crate::view::{self, Page, Server};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `stacksonde view`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File to show: .pb.gz (pprof, of any program), .folded or .html.
    file: PathBuf,
    /// Which values of a pprof file to show, by their name, for example `cpu` or `inuse_space`.
    #[arg(long, value_name = "NAME")]
    value: Option<String>,
    /// Port of this machine to serve the page on; one that is free if it is left out.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// End when the page was fetched once.
    #[arg(long)]
    once: bool,
    /// Only print the address; open no browser.
    #[arg(long)]
    no_open: bool,
}

/// Serves the page until it is interrupted; the exit code is 0.
///
/// # Errors
///
/// The file cannot be read or shown, or the port is taken.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let page = match view::read(&arguments.file, arguments.value.as_deref())? {
        Page::Made(page) => page,
        Page::Profile(profile) => {
            let name = arguments.file.file_name().unwrap_or_default().to_string_lossy();
            let about = stacksonde_flame::About { title: name.into_owned(), ..profile.about };
            let mut page = Vec::new();
            stacksonde_flame::write(&about, profile.graph, &mut page)?;
            page
        }
    };
    let server = Server::start(page, arguments.port)
        .with_context(|| format!("cannot serve the page on port {} of this machine", arguments.port))?;
    out(&format!("{}\n", server.url()))?;
    if arguments.no_open || !open(&server.url()) {
        let port = server.port();
        err(&format!(
            "open this address in a browser on this machine; from another one, forward the port to it first:\n\
             ssh -L {port}:127.0.0.1:{port} THIS_MACHINE"
        ));
    }
    if arguments.once {
        err("ends when the page was fetched, or with Ctrl-C");
    } else {
        err("Ctrl-C ends it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let fetched = async {
            if !arguments.once {
                std::future::pending::<()>().await;
            }
            let (sender, receiver) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                server.wait();
                sender.send(())
            });
            let _fetched = receiver.await;
        };
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            () = fetched => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Opens a browser where there is a screen; not as root, whose browser nobody should use. Whether it was started.
fn open(url: &str) -> bool {
    let screen = ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
    // SAFETY: a plain question.
    let root = unsafe { libc::geteuid() } == 0;
    if !screen || root {
        return false;
    }
    let mut command = Command::new("xdg-open");
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}
