//! Many processes, or what is special about one: `crowd WHAT [COUNT]`. Says `ready`, and goes on until it is killed.
//!
//! ```text
//! busy            one that computes
//! asleep COUNT    so many that do nothing
//! mappings COUNT  one with so many executable mappings, which computes a little
//! started COUNT   so many programs started a second, each of which ends at once
//! ```

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let count: usize = arguments.get(2).and_then(|count| count.parse().ok()).unwrap_or(1);
    match arguments.get(1).map_or("", String::as_str) {
        "busy" => {
            ready();
            compute(Duration::MAX);
        }
        "asleep" => asleep(count),
        "mappings" => mappings(count),
        "started" => started(count),
        other => fail(&format!("`{other}`: one of busy, asleep, mappings, started")),
    }
}

fn fail(why: &str) -> ! {
    eprintln!("crowd: {why}");
    std::process::exit(2)
}

fn ready() {
    println!("ready");
    std::io::stdout().flush().expect("standard output");
}

fn compute(time: Duration) {
    let start = Instant::now();
    let mut sum = 0_u64;
    while start.elapsed() < time {
        for number in 0..10_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31) ^ number);
        }
    }
}

/// Children of this process, without an exec: they share its pages.
fn asleep(count: usize) {
    for _ in 0..count {
        // SAFETY: this process has one thread; the child calls nothing but pause and ends with the group.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: a plain call.
                unsafe { libc::pause() };
            },
            -1 => fail(&format!("fork: {}", std::io::Error::last_os_error())),
            _ => {}
        }
    }
    ready();
    loop {
        std::thread::park();
    }
}

/// Pages of one file, every other one executable, so that no two are one mapping.
fn mappings(count: usize) {
    const PAGE: usize = 4096;
    let (none, length) = (std::ptr::null_mut(), count * PAGE);
    let readable = libc::PROT_READ;
    // SAFETY: the kernel chooses an address that is free.
    let start = unsafe {
        libc::mmap(
            none,
            length,
            readable,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    assert!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    for page in (0..count).step_by(2) {
        // SAFETY: inside the mapping above, which nothing else uses.
        let changed =
            unsafe { libc::mprotect(start.byte_add(page * PAGE), PAGE, readable | libc::PROT_EXEC) };
        assert!(
            changed == 0,
            "mprotect: {}; is vm.max_map_count too small?",
            std::io::Error::last_os_error()
        );
    }
    ready();
    loop {
        compute(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(80));
    }
}

fn started(count: usize) {
    let pause = Duration::from_secs(1) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let mut next = Instant::now();
    ready();
    loop {
        let mut child = Command::new("/bin/true").spawn().expect("/bin/true");
        child.wait().expect("a child");
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
