use stacksonde::unwind::*;
fn main() {
    for path in std::env::args().skip(1) {
        let Ok(file) = std::fs::File::open(&path) else { continue };
        let Some(frames) = CallFrames::find(&file) else {
            println!("{path}: none");
            continue;
        };
        let size = file.metadata().unwrap().len();
        let (mut n, mut bad) = (0, 0);
        for page in 0..(size >> 12) + 2 {
            for (at, rule) in frames.rows_of_page(&file, page).unwrap() {
                n += 1;
                if rule == Rule::UNSUPPORTED {
                    bad += 1;
                    if bad < 6 {
                        println!("  {at:#x}");
                    }
                }
            }
        }
        println!("{path}: {n} rows {bad} unsupported");
    }
}
