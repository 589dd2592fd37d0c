//! `stacksonde top`, on screens without a terminal: batches and keys go in, cells come out.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use stacksonde::terminal::{Charset, Key, Paint, Palette};
use stacksonde::top::{Setting, Top, Wish};
use stacksonde_batch::tables::{
    Frame, Function, Line, Location, NONE, Process, Sample, Stack, Thread, ValueType,
};
use stacksonde_batch::{Header, Writer};
use stacksonde_tests::profile;

const MINUTE: u64 = 60_000_000_000;

fn setting() -> Setting {
    Setting {
        host: "desk".into(),
        hz: 100,
        cpus: 2,
        window_ns: MINUTE,
        budget: 8 << 20,
        charset: Charset::Unicode,
        ..Setting::default()
    }
}

/// With the batch made by hand in it.
fn top() -> Top {
    let mut top = Top::new(setting());
    top.take(&profile::batch(1)).unwrap();
    top
}

fn buffer(top: &Top, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    top.draw(&mut buffer, Palette::Many);
    buffer
}

fn screen(top: &Top, width: u16, height: u16) -> String {
    let buffer = buffer(top, width, height);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

fn press(top: &mut Top, keys: &[Key]) {
    for key in keys {
        assert_eq!(top.key(*key), Wish::Nothing, "{key:?}");
    }
}

/// The line with these words in it, in this order.
fn line<'a>(screen: &'a str, words: &[&str]) -> &'a str {
    let has_all = |line: &&str| {
        let mut rest = *line;
        words.iter().all(|word| rest.split_once(word).map(|(_, after)| rest = after).is_some())
    };
    screen.lines().find(has_all).unwrap_or_else(|| panic!("no line with {words:?}:\n{screen}"))
}

#[test]
fn functions_processes_and_flame_graph_are_on_one_small_screen() {
    let screen = screen(&top(), 80, 24);
    line(&screen, &["stacksonde top", "desk", "100 Hz", "CPU 0.02 of 2", "2 samples/s"]);
    line(&screen, &["complete 77.8 %", "lost 4 (18.2 %)", "last 10 s", "3 processes"]);
    // Twelve of eighteen samples; nginx has 0.12 of 10 seconds.
    line(&screen, &["66.7", "66.7  vfs_read [k]", "1.2     100  nginx"]);
    line(&screen, &["16.7    16.7  app+0x2abc", "0.4     200  my app;v2"]);
    line(&screen, &["Flame graph"]);
    line(&screen, &["my app;v2 (200)", "nginx (100)"]);
    line(&screen, &["q quit", "? help", "/ search"]);
}

#[test]
fn large_screens_have_the_panes_beside_each_other() {
    let screen = screen(&top(), 200, 60);
    line(&screen, &["Functions by self", "Flame graph"]);
    line(&screen, &["0.0    16.7  operator new(unsigned long)"]);
    assert!(screen.lines().all(|line| line.chars().count() <= 200), "{screen}");
    // Each call is below its caller.
    let row =
        |name: &str| screen.lines().position(|line| line.chars().skip(81).collect::<String>().contains(name));
    assert!(row("_start") < row("handle") && row("handle") < row("vfs_read"), "{screen}");
}

#[test]
fn no_size_is_too_small() {
    let mut top = top();
    for keys in [&[][..], &[Key::Tab], &[Key::Tab], &[Key::Char('?')], &[Key::Char('d')]] {
        press(&mut top, keys);
        for width in 0..90 {
            for height in 0..30 {
                buffer(&top, width, height);
            }
        }
        for palette in [Palette::None, Palette::Eight] {
            top.draw(&mut Buffer::empty(Rect::new(0, 0, 60, 20)), palette);
        }
    }
}

#[test]
fn a_process_narrows_everything_and_escape_takes_it_back() {
    let mut top = top();
    press(&mut top, &[Key::Tab, Key::Down, Key::Enter]);
    let narrowed = screen(&top, 100, 30);
    line(&narrowed, &["complete 0.0 %", "only my app;v2 (200)"]);
    line(&narrowed, &["75.0    75.0  app+0x2abc"]);
    assert!(!narrowed.contains("vfs_read"), "{narrowed}");
    line(&narrowed, &[">", "200  my app;v2"]);
    press(&mut top, &[Key::Escape]);
    assert!(!screen(&top, 100, 30).contains("only my app"));
}

#[test]
fn a_search_lists_what_matches_and_says_how_much_that_is() {
    let mut top = top();
    press(
        &mut top,
        &[Key::Char('/'), Key::Char('W'), Key::Char('o'), Key::Char('r'), Key::Char('k'), Key::Char('q')],
    );
    line(&screen(&top, 100, 30), &["search: Workq_"]);
    press(&mut top, &[Key::Backspace, Key::Enter]);
    let found = screen(&top, 100, 30);
    line(&found, &["search: Work (11.1 %)"]);
    line(&found, &["11.1", "worker_thread [k]"]);
    assert!(!found.contains("66.7  handle") && found.contains("1 function"), "{found}");
    press(&mut top, &[Key::Escape]);
    line(&screen(&top, 100, 30), &["66.7", "vfs_read"]);
}

#[test]
fn tables_are_sorted_by_what_is_asked_for() {
    let mut top = top();
    let row = |top: &Top, row: usize| screen(top, 100, 30).lines().nth(4 + row).unwrap().to_owned();
    let first = |top: &Top| row(top, 0);
    assert!(first(&top).contains("vfs_read"));
    press(&mut top, &[Key::Char('s')]);
    assert!(row(&top, 1).contains("0.0    66.7  _start"), "{}", row(&top, 1));
    press(&mut top, &[Key::Char('s')]);
    // Capitals and underscores as in ASCII.
    assert!(first(&top).contains("_start"));
    press(&mut top, &[Key::Tab, Key::Char('s'), Key::Char('s')]);
    assert!(first(&top).contains("7  kworker/0:1"), "{}", first(&top));
}

#[test]
fn the_flame_graph_zooms_to_the_frame_that_arrows_select() {
    let mut top = top();
    // To the hottest process, then to what it calls.
    press(&mut top, &[Key::BackTab, Key::Down, Key::Down, Key::Down, Key::Enter]);
    let zoomed = screen(&top, 100, 30);
    line(&zoomed, &["Flame graph: 66.7 % main"]);
    let after = zoomed.split_once("Flame graph").unwrap().1.lines().nth(1).unwrap();
    assert!(after == "main", "{zoomed}");
    press(&mut top, &[Key::Escape]);
    let all = screen(&top, 100, 30);
    assert!(all.split_once("Flame graph").unwrap().1.lines().nth(1).unwrap() == "all", "{all}");
}

#[test]
fn a_pause_keeps_the_picture_and_q_quits() {
    let mut top = top();
    press(&mut top, &[Key::Char(' ')]);
    top.take(&profile::batch(2)).unwrap();
    line(&screen(&top, 100, 30), &["PAUSED", "2 samples/s"]);
    line(&screen(&top, 100, 30), &["last 10 s"]);
    press(&mut top, &[Key::Char(' ')]);
    top.take(&profile::batch(3)).unwrap();
    line(&screen(&top, 100, 30), &["last 20 s"]);
    assert_eq!(top.key(Key::Char('q')), Wish::Quit);
    assert_eq!(top.key(Key::Ctrl('c')), Wish::Quit);
}

#[test]
fn details_tell_losses_with_what_they_mean() {
    let mut top = top();
    press(&mut top, &[Key::Char('d')]);
    let details = screen(&top, 100, 30);
    line(&details, &["3 samples_lost_ring_full"]);
    line(&details, &["A CPU's ring was full."]);
    line(&details, &["raise memory.ring_bytes"]);
    line(&details, &["16.7 % of stacks end early: bad_frame_pointer"]);
}

/// A batch from one second to another with one sample in a function of this name.
fn one(from: u64, to: u64, function: &str, comm: &str) -> Vec<u8> {
    let second = 1_000_000_000;
    let mut w = Writer::new(Header { start_ns: from * second, end_ns: to * second, ..Header::default() });
    let (kind, unit) = (w.string("cpu"), w.string("nanoseconds"));
    w.value_type(ValueType { kind, unit, per_sample: 10_000_000 });
    let comm = w.string(comm);
    let process = w.process(Process { pid: 1, comm, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 1, comm });
    let name = w.string(function);
    let function = w.function(Function { name, ..Function::default() });
    let lines_start = w.line(Line { function, ..Line::default() });
    let location = w.location(Location { mapping: NONE, lines_start, lines_count: 1, ..Location::default() });
    let frames_start = w.frame(Frame { location });
    let stack = w.stack(Stack { frames_start, frames_count: 1, complete: 1, ..Stack::default() });
    w.sample(Sample { thread, stack, count: 1, ..Sample::default() });
    w.finish().unwrap()
}

#[test]
fn what_is_older_than_the_window_is_gone() {
    let mut top = Top::new(Setting { window_ns: 3_000_000_000, ..setting() });
    for (from, name) in (0..).zip(["first", "second", "third", "fourth", "fifth"]) {
        top.take(&one(from, from + 1, name, "x")).unwrap();
    }
    let shown = screen(&top, 80, 24);
    line(&shown, &["last 3 s"]);
    assert!(!shown.contains("first") && !shown.contains("second"), "{shown}");
    line(&shown, &["33.3    33.3  third"]);
}

#[test]
fn names_cannot_act_on_the_terminal() {
    let hostile = "\x1b[2J\x1b]0;owned\x07\r\n\u{9b}2J\u{202e}evil\u{200b}";
    let mut top = Top::new(setting());
    top.take(&one(0, 10, hostile, hostile)).unwrap();
    press(&mut top, &[Key::BackTab, Key::Down, Key::Down, Key::Enter]);
    for (width, height) in [(80, 24), (200, 60), (30, 8)] {
        let buffer = buffer(&top, width, height);
        let acts = |character: char| character.is_control() || ['\u{202e}', '\u{200b}'].contains(&character);
        assert!(!buffer.content.iter().any(|cell| cell.symbol().contains(acts)));
    }
    assert!(screen(&top, 80, 24).contains("evil"));
    let text = top.text(Paint(false), None);
    assert!(
        text.contains("evil") && !text.contains(['\x1b', '\x07', '\r', '\u{9b}', '\u{202e}']),
        "{text:?}"
    );
}

#[test]
fn memory_is_bounded_and_what_has_no_room_is_told() {
    let large = profile::large_batch();
    let mut whole = Top::new(Setting { budget: usize::MAX, ..setting() });
    whole.take(&large).unwrap();
    assert!(!screen(&whole, 100, 30).contains("not shown"));
    let mut top = Top::new(Setting { budget: 1 << 20, ..setting() });
    for _ in 0..3 {
        top.take(&large).unwrap();
    }
    let shown = screen(&top, 120, 30);
    let header = line(&shown, &["not shown (d)"]);
    let left_out = header.split("  ").find_map(|part| part.strip_suffix(" not shown (d)")).unwrap();
    let left_out: u64 = left_out.parse().unwrap();
    // Of the last batch alone, since for the others there is no room beside it.
    assert!(left_out > 0 && left_out < profile::LARGE_SAMPLES, "{header}");
    let text = top.text(Paint(false), None);
    line(&text, &[&format!("{left_out} samples are not shown: memory.max")]);
    line(&text, &[&format!("{} samples, complete 100.0 %", profile::LARGE_SAMPLES)]);
}

#[test]
fn once_is_text_for_pipes() {
    let text = top().text(Paint(false), None);
    line(&text, &["desk, 100 Hz, 10.0 s: CPU 0.02 of 2, 18 samples, complete 77.8 %, lost 4"]);
    line(&text, &["1.2     100  nginx"]);
    line(&text, &["66.7    66.7  vfs_read [k]"]);
    assert!(top().text(Paint(false), Some(30)).lines().skip(6).all(|line| line.chars().count() <= 30));
    assert!(!text.contains('\x1b') && top().text(Paint(true), None).contains("\x1b[1m"));
}

#[test]
fn without_a_terminal_it_names_the_way_out() {
    let top = |arguments: &[&str]| {
        let mut command = std::process::Command::new(stacksonde_tests::agent::built());
        let output = command.arg("top").args(arguments).env_remove("LD_LIBRARY_PATH").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = top(&[]);
    assert!(said.contains("stdout is not a terminal; `stacksonde top --once` prints one table"), "{said}");
    let said = top(&["--interval", "5", "--window", "1"]);
    assert!(said.contains("--window is shorter than --interval"), "{said}");
    assert!(top(&["--interval", "0"]).contains("seconds, from 0.1 to 3600"));
}
