//! The least that a profiler with BPF must do, to measure others by: `floor HZ`.
//!
//! On each tick of each CPU's software clock it takes ids, name and both stacks by frame pointers
//! (`bpf_get_stack`) and sends them through a ring, whose records are thrown away. It runs until it is ended.

use aya::maps::RingBuf;
use aya::programs::PerfEvent;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use std::time::Duration;

fn main() {
    let hz: u64 = std::env::args().nth(1).and_then(|hz| hz.parse().ok()).expect("floor HZ");
    let mut object = aya::EbpfLoader::new()
        .btf(None)
        .load(include_bytes!(concat!(env!("OUT_DIR"), "/floor.o")))
        .expect("floor object");
    let program: &mut PerfEvent =
        object.program_mut("floor_tick").expect("floor_tick").try_into().expect("a perf event's program");
    program.load().expect("the verifier takes it");
    for cpu in aya::util::online_cpus().expect("the list of CPUs") {
        program
            .attach(
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                PerfEventScope::AllProcessesOneCpu { cpu },
                SamplePolicy::Period(1_000_000_000 / hz),
                true,
            )
            .expect("a perf event");
    }
    let mut ring = RingBuf::try_from(object.take_map("ring").expect("ring")).expect("a ring");
    loop {
        while ring.next().is_some() {}
        std::thread::sleep(Duration::from_millis(100));
    }
}
