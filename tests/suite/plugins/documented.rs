//! The guide shows the fixture that the other tests load, word for word.

use stacksonde_tests::plugin;
use std::fs;
use std::path::Path;

#[test]
fn the_guide_shows_the_files_of_a_plugin_that_loads() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/writing-a-plugin.md");
    let guide = fs::read_to_string(guide).unwrap();
    for (language, file) in [("toml", "Cargo.toml"), ("json", "plugin.json"), ("rust", "src/lib.rs")] {
        let expected = fs::read_to_string(plugin::fixture("line-count").join(file)).unwrap();
        let (_, block) = guide.split_once(&format!("```{language}\n")).unwrap();
        let (block, _) = block.split_once("```").unwrap();
        assert_eq!(block, expected, "{file}");
    }
}
