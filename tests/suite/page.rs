//! The page of a flame graph in a real browser.

use stacksonde_file_export::Format;
use stacksonde_plugin::batch::Batch;
use stacksonde_tests::browser::{self, Browser};
use stacksonde_tests::{profile, skip::skip};
use std::path::PathBuf;
use tempfile::TempDir;

/// The height of a row of the graph.
const ROW: f64 = 19.0;

/// A browser, or `None` after saying that there is none.
fn browser(test: &str) -> Option<Browser> {
    let program = browser::program();
    if program.is_none() {
        skip(test, "there is no chromium-headless-shell or chromium in PATH");
    }
    program.map(|program| Browser::start(&program))
}

fn page(batch: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.html");
    std::fs::write(&path, Format::Html.encode(&Batch::parse(batch).unwrap()).unwrap()).unwrap();
    (folder, path)
}

/// A place in the graph: a share of its width, a row.
fn place(browser: &mut Browser, share: f64, row: u32) -> (f64, f64) {
    let corner =
        browser.value("(({ left, top, width }) => [left, top, width])(graph.getBoundingClientRect())");
    let [left, top, width] = [0, 1, 2].map(|index| corner[index].as_f64().unwrap());
    (left + width * share, top + ROW * (f64::from(row) + 0.5))
}

fn tip_at(browser: &mut Browser, share: f64, row: u32) -> String {
    let (x, y) = place(browser, share, row);
    browser.hover(x, y);
    browser.text("tip.hidden ? '' : [...tip.children].map((line) => line.textContent).join('|')")
}

fn click(browser: &mut Browser, share: f64, row: u32) {
    let (x, y) = place(browser, share, row);
    browser.click(x, y);
}

/// Of the batch's 18 samples, from left to right: kworker 2, my app 4 (incomplete), nginx 12.
#[test]
fn a_page_tells_searches_zooms_and_asks_nobody() {
    let Some(mut browser) = browser("a_page_tells_searches_zooms_and_asks_nobody") else { return };
    let (_folder, path) = page(&profile::batch(1));
    browser.open_file(&path);
    let facts = browser.text("facts.textContent");
    assert_eq!(
        facts,
        "2026-11-24 02:25:00 UTC · 10 s · 18 samples (180 ms) · 100 Hz · on attic · Linux 6.18.0"
    );
    assert_eq!(
        browser.text("missing.firstElementChild.textContent"),
        "4 samples lost, 22.22 % of stacks incomplete"
    );
    let reasons = browser.text("[...missing.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.textContent).join(' ')).join('|')");
    for reason in ["3 samples_lost_ring_full", "3 [incomplete: bad_frame_pointer]"] {
        assert!(reasons.contains(reason), "{reasons}");
    }

    // What the pointer is over.
    assert_eq!(tip_at(&mut browser, 0.5, 0), "all|18 samples (180 ms), 100 % of all");
    let tip = tip_at(&mut browser, 0.7, 5);
    assert_eq!(tip, "parse|program, /usr/sbin/nginx|12 samples (120 ms), 66.67 % of all");
    assert_eq!(
        tip_at(&mut browser, 0.7, 8),
        "vfs_read|kernel, [kernel.kallsyms]|12 samples (120 ms), 66.67 % of all|itself: 12 samples (120 ms), 66.67 % of all"
    );
    assert!(tip_at(&mut browser, 0.12, 1).starts_with("my app;v2|process, /opt/app|4 samples"));
    assert!(tip_at(&mut browser, 0.12, 2).starts_with("[incomplete: bad_frame_pointer]|3 samples"));
    assert_eq!(tip_at(&mut browser, 0.05, 9), "", "there is nothing below kworker's stack");

    // A click fills the width with a frame, Escape gives all back.
    click(&mut browser, 0.05, 1);
    let tip = tip_at(&mut browser, 0.95, 2);
    assert!(
        tip.starts_with(
            "kthread|kernel, [kernel.kallsyms]|2 samples (20 ms), 11.11 % of all, 100 % of what is shown"
        ),
        "{tip}"
    );
    browser.key("Escape");
    assert!(tip_at(&mut browser, 0.95, 2).starts_with("_start|"));

    // Search: the share of what matches, one function under another counted once.
    browser.key("/");
    browser.write("READ");
    assert_eq!(browser.text("matched.textContent"), "77.78 % of all, 14 samples (140 ms)");
    browser.key("Escape");
    assert_eq!(browser.text("matched.textContent"), "");
    browser.key("/");
    browser.write("/^(parse|operator new.*)$/");
    assert_eq!(browser.text("matched.textContent"), "83.33 % of all, 15 samples (150 ms)");
    browser.key("Enter");
    assert!(
        browser
            .text("document.getElementById('status').textContent")
            .starts_with("operator new(unsigned long)")
    );
    browser.key("Enter");
    assert!(browser.text("document.getElementById('status').textContent").starts_with("parse · program"));
    browser.write("(");
    assert_eq!(browser.text("matched.textContent"), "no match");
    browser.value("search.select()");
    browser.write("/(/");
    assert_eq!(browser.text("matched.textContent"), "not a regular expression");

    // Keys alone: to the heaviest process, into its functions, and back.
    browser.key("Escape");
    let status = "document.getElementById('status').textContent";
    browser.key("Home");
    for (key, expected) in [
        ("ArrowDown", "nginx · process"),
        ("ArrowLeft", "my app;v2"),
        ("ArrowLeft", "kworker/0:1"),
        ("ArrowDown", "kthread · kernel"),
        ("Enter", "kthread · kernel"),
        ("ArrowUp", "kworker/0:1"),
    ] {
        browser.key(key);
        let said = browser.text(status);
        assert!(said.starts_with(expected), "{key}: {said}");
    }
    assert!(tip_at(&mut browser, 0.99, 3).starts_with("worker_thread|"));

    // Threads as a level of their own, and neither threads nor processes.
    browser.value("(levels.value = '2', levels.dispatchEvent(new Event('change')))");
    assert!(tip_at(&mut browser, 0.4, 2).starts_with("nginx (tid 100, pid 100)|thread|5 samples"));
    assert!(tip_at(&mut browser, 0.9, 2).starts_with("worker (tid 101, pid 100)|thread|7 samples"));
    browser.value("(levels.value = '0', levels.dispatchEvent(new Event('change')))");
    assert!(tip_at(&mut browser, 0.99, 1).starts_with("kthread|"));

    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.requests(), [format!("file://{}", path.display())]);
}

#[test]
fn names_that_are_html_are_names_and_the_page_reaches_nobody() {
    let Some(mut browser) = browser("names_that_are_html_are_names_and_the_page_reaches_nobody") else {
        return;
    };
    let hostile = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>\u{202e}";
    let (_folder, path) = page(&profile::batch_named(hostile));
    browser.open_file(&path);
    let tip = tip_at(&mut browser, 0.5, 1);
    assert!(
        tip.starts_with("</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"),
        "{tip}"
    );
    assert!(!tip.contains('\u{202e}'), "what turns the direction of writing is a mark: {tip}");
    browser.key("/");
    browser.write("<img");
    assert!(browser.text("matched.textContent").starts_with("100 % of all"));
    assert_eq!(browser.value("window.hit ?? null"), serde_json::Value::Null);
    assert_eq!(browser.value("document.images.length + document.scripts.length"), 2);
    assert_eq!(browser.complaints(), [""; 0]);

    // Even a script that got in could send nothing away.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused =
        browser.text(&format!("fetch('http://127.0.0.1:{port}/').then(() => 'sent', () => 'refused')"));
    assert_eq!(refused, "refused");
    let image = format!(
        "new Promise((done) => {{ const image = new Image(); image.onload = () => done('sent'); image.onerror = () => done('refused'); image.src = 'http://127.0.0.1:{port}/'; }})"
    );
    assert_eq!(browser.text(&image), "refused");
    browser.value("((script) => { script.textContent = 'window.hit = 1'; document.body.append(script); })(document.createElement('script'))");
    assert_eq!(browser.value("window.hit ?? null"), serde_json::Value::Null);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody was asked");
}

#[test]
fn a_long_name_is_drawn_with_both_its_ends() {
    let Some(mut browser) = browser("a_long_name_is_drawn_with_both_its_ends") else { return };
    let name = format!("begins_{}_ends", "x".repeat(3000));
    let (_folder, path) = page(&profile::batch_named(&name));
    browser.open_file(&path);
    browser.value("(window.texts = [], context.fillText = (text) => window.texts.push(text), 0)");
    browser.value("levels.dispatchEvent(new Event('change'))");
    browser.until("window.texts.some((text) => /^begins_x+…x+_ends$/.test(text))");
    // What is told of it is all of it.
    assert!(tip_at(&mut browser, 0.5, 1).starts_with(&name));
}

#[test]
fn colours_follow_the_system_and_an_empty_profile_says_so() {
    let Some(mut browser) = browser("colours_follow_the_system_and_an_empty_profile_says_so") else { return };
    let (_folder, path) = page(&profile::empty_batch());
    browser.open_file(&path);
    assert!(browser.text("facts.textContent").contains(" · no samples · "));
    assert_eq!(browser.text("missing.firstElementChild.textContent"), "nothing is known to be missing");
    assert_eq!(tip_at(&mut browser, 0.5, 0), "");
    let colour = "[getComputedStyle(document.body).backgroundColor, graph.getContext('2d').getImageData(5, 5, 1, 1).data.join()].join()";
    let light = browser.text(colour);
    assert_eq!(browser.complaints(), [""; 0]);
    let dark = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.call("Emulation.setEmulatedMedia", dark);
    assert_eq!(light, "rgb(255, 255, 255),255,255,255,255");
    browser.until(&format!("{colour} === 'rgb(22, 23, 26),22,23,26,255'"));
}

/// Drawn for one view: rectangles, texts.
fn drawn(browser: &mut Browser) -> (u64, u64) {
    let drawn = browser.value("(({ rectangles, texts }) => { window.drawn.rectangles = window.drawn.texts = 0; return [rectangles, texts]; })(window.drawn)");
    (drawn[0].as_u64().unwrap(), drawn[1].as_u64().unwrap())
}

/// The cost of drawing a page follows the screen, not the graph: a hundred thousand distinct stacks cost no more than a
/// view is wide, in every step of a session. Times are printed, not asserted.
#[test]
fn a_hundred_thousand_stacks_draw_no_more_than_the_screen_holds() {
    let Some(mut browser) = browser("a_hundred_thousand_stacks_draw_no_more_than_the_screen_holds") else {
        return;
    };
    for stacks in [1_000, 100_000] {
        // Each is a function of its own under one of a thousand.
        let (_folder, path) = page(&profile::batch_of_distinct(stacks));
        browser.open_file(&path);
        browser.value("(window.long = [], new PerformanceObserver((list) => window.long.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: 'longtask' }))");
        let facts = browser.text("facts.textContent");
        assert!(
            facts.contains(&format!("{} samples", if stacks == 1_000 { "1,000" } else { "100,000" })),
            "{facts}"
        );
        let size = browser.value("[graph.clientWidth, Math.ceil(graph.clientHeight / 19) + 1]");
        let pixels = size[0].as_u64().unwrap() * size[1].as_u64().unwrap();
        drawn(&mut browser);
        let step = |browser: &mut Browser, what: &str| {
            let (rectangles, texts) = drawn(browser);
            // A view is drawn a few times at most between two looks; in each a rectangle a pixel of each row.
            assert!(
                rectangles > 0 && rectangles <= 4 * pixels,
                "{stacks} stacks, {what}: {rectangles} rectangles"
            );
            assert!(texts <= pixels, "{stacks} stacks, {what}: {texts} texts");
        };
        browser.value("levels.dispatchEvent(new Event('change'))");
        step(&mut browser, "all");
        let tip = tip_at(&mut browser, 0.5005, 2);
        assert!(tip.starts_with("group_"), "{tip}");
        step(&mut browser, "a tip");
        click(&mut browser, 0.5005, 2);
        assert!(tip_at(&mut browser, 0.5, 3).starts_with("leaf_"));
        step(&mut browser, "zoomed");
        browser.key("/");
        browser.write("leaf_00001");
        let matched = browser.text("matched.textContent");
        let expected = if stacks == 1_000 { "0.10 % of all" } else { "0.001 % of all" };
        assert!(matched.starts_with(expected), "{matched}");
        step(&mut browser, "searched");
        browser.key("Escape");
        browser.key("Escape");
        browser.value("levels.dispatchEvent(new Event('change'))");
        step(&mut browser, "all again");
        println!("{stacks} stacks: tasks of more than 50 ms: {} ms", browser.value("window.long"));
        assert_eq!(browser.complaints(), [""; 0]);
    }
}
